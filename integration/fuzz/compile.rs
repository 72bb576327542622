//! config.json, from bytes to the plan: no panic, and every plan in order.

#![no_main]

#[path = "../golden/order.rs"]
mod order;

use hako::cgroups::Manager;
use hako::host::Host;
use hako::plan::{self, Options};
use hako::rootfs::OverlayRequest;
use hako::{config, error::Error};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The last byte decides what the command line says. In a file it is the end of the last line.
    let Some((flags, document)) = bytes.split_last() else { return };
    let Ok(config) = config::parse(document) else { return };
    let flag = |bit: u8| flags & (1 << bit) != 0;
    let options = Options {
        id: "fuzzed".into(),
        bundle: "/bundle".into(),
        run: flag(0),
        no_pivot: flag(1),
        no_new_keyring: flag(2),
        overlay: flag(4).then(OverlayRequest::default),
        cgroup_manager: match (flag(5), flag(6)) {
            (true, _) => Manager::Systemd,
            (false, true) => Manager::Disabled,
            (false, false) => Manager::Cgroupfs,
        },
        notify: flag(3).then(|| "/run/hako/fuzzed/notify".into()),
        listen_fds: u32::from(flag(3)),
        ..Options::default()
    };
    let host = match flags & 0x0f {
        0 => Host::example_of_namespace_root(),
        5 => Host::example_of_user(),
        _ => Host::example(),
    };
    match plan::compile(&config.spec, &host, &options) {
        Ok(plan) => {
            order::check(&plan);
            assert!(plan.to_string().starts_with("container fuzzed\n"));
        }
        Err(error) => check_pointers(&error),
    }
});

fn check_pointers(error: &Error) {
    let pointer = error.pointer.as_deref().unwrap_or_default();
    assert!(pointer.starts_with('/'), "{error} at {pointer:?}");
    error.others.iter().for_each(check_pointers);
}
