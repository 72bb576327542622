//! Black-box tests of the built binary, one module for each theme.

mod devices;
mod mounts_bind;
mod mounts_idmap;
mod mounts_options;
mod paths;
mod personality_numa;
mod privileges;
mod process;
mod scheduling;
mod top_level;
