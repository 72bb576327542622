//! How: the program decides about the processes of a cgroup.

use super::Devices;
use crate::cgroups::CgroupDir;
use crate::error::{Error, Result};
use crate::sys::{
    attach_device_program, detach_device_program, find_device_program, load_device_program,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::AsFd;

/// By this name hako knows its program among those of systemd and others.
const NAME: &CStr = c"hako_devices";

impl CgroupDir {
    /// Allows and denies devices from now on. The program that did so before is
    /// replaced at once; in a cgroup that `is_new` there is none.
    pub fn set_devices(&self, devices: &Devices, is_new: bool) -> Result<()> {
        if devices.allow_all() {
            return if is_new { Ok(()) } else { self.forget_devices() };
        }
        let refused = |what: &str, errno| {
            let error = Error::os(format!("cannot {what} the device rules"), errno);
            match errno {
                Errno::PERM => {
                    error.hint("it takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, on the host")
                }
                Errno::INVAL | Errno::NOSYS => error.hint("the kernel needs CONFIG_CGROUP_BPF"),
                Errno::TOOBIG | Errno::NOSPC | Errno::NOMEM => {
                    error.hint("there are too many rules")
                }
                _ => error,
            }
        };
        let program = devices.program();
        let bytes: Vec<[u8; 8]> =
            program.iter().map(|instruction| instruction.to_bytes()).collect();
        let program = load_device_program(&bytes, NAME).map_err(|errno| refused("load", errno))?;
        let old = match is_new {
            true => None,
            false => {
                find_device_program(self.as_fd(), NAME).map_err(|errno| refused("find", errno))?
            }
        };
        attach_device_program(self.as_fd(), program.as_fd(), old.as_ref().map(AsFd::as_fd))
            .map_err(|errno| refused("attach", errno))
    }

    /// Takes hako's program away, if there is one.
    pub fn forget_devices(&self) -> Result<()> {
        let found = find_device_program(self.as_fd(), NAME);
        let detached = found.and_then(|program| match program {
            Some(program) => detach_device_program(self.as_fd(), program.as_fd()),
            None => Ok(()),
        });
        detached.map_err(|errno| Error::os("cannot detach the device rules", errno))
    }
}
