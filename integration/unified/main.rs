//! Tests that need a host whose one cgroup hierarchy is a unified v2 with the
//! controllers cpu, io, memory and pids, and systemd as pid 1. `vm/test` runs
//! them here if this is such a host, and in the guest otherwise.

mod effects;
mod limits;
mod peers;
mod placing;
mod rootless;
mod stock;
mod systemd;
mod world;
