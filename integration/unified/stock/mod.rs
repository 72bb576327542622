//! Tests that need the kernel of a distribution besides: the controllers
//! cpuset and hugetlb, pressure information, AppArmor, more than one CPU. In
//! the guest this kernel's CPU is emulated and slow, so only what needs it is
//! here.

mod apparmor;
mod limits;
mod systemd;
mod world;
