//! Tests that need the kernel of a distribution besides: the controllers
//! cpuset, hugetlb and rdma, devices that are modules, pressure information,
//! AppArmor, more than one CPU. In
//! the guest this kernel's CPU is emulated and slow, so only what needs it is
//! here.

mod apparmor;
mod block;
mod checkpoint;
mod checkpoint_failing;
mod checkpoint_streams;
mod limits;
mod rdma;
mod settings;
mod systemd;
mod world;

use std::process::Command;

/// A program of the host, which must succeed.
#[track_caller]
fn host(program: &str, args: &[&str]) {
    let output = Command::new("timeout").arg("20").arg(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}
