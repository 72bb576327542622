//! The only `unsafe` of the crate: thin typed wrappers around system calls that
//! neither rustix nor nix offers. Borrowed descriptors in, owned ones out.

mod auxv;
mod bpf;
mod child;
mod clone;
mod entry;
mod exec;
mod exit;
mod keyring;
mod limit;
mod mount;
mod namespace;
mod netlink;
mod numa;
mod regex;
mod schedule;
mod seccomp;
mod signal;
#[cfg(starts_before_libc)]
mod start;

pub use auxv::{executed_descriptor, is_executed_by_root};
pub use bpf::{
    attach_device_program, detach_device_program, find_device_program, load_device_program,
};
pub use child::{pidfd_send_signal, reap};
pub use clone::{Clone3, Cloned, clone3};
pub use entry::prepare_process;
pub use exec::{
    Execution, cloexec_from, close_all_but, execute_fd, take_inherited, wipe_environment,
};
pub use exit::exit_now;
pub use keyring::join_session_keyring;
pub use limit::prlimit;
pub use mount::{MountAttributes, mount_setattr};
pub use namespace::{interface_up, namespace_type, owning_user_namespace, set_domainname};
pub use netlink::netlink_explain;
pub use numa::set_mempolicy;
pub use regex::Regex;
pub use schedule::{SchedulerAttributes, ioprio_set, sched_setaffinity, sched_setattr};
pub use seccomp::{Instruction, load_filter};
pub use signal::{reset_signals, signal_name};
#[cfg(starts_before_libc)]
pub use start::seal_before_libc;

use rustix::io::Errno;

/// A raw system call's result: the value, or the error number.
fn result(returned: libc::c_long) -> Result<libc::c_long, Errno> {
    if returned < 0 {
        let number = std::io::Error::last_os_error().raw_os_error();
        Err(Errno::from_raw_os_error(number.unwrap_or(libc::EIO)))
    } else {
        Ok(returned)
    }
}
