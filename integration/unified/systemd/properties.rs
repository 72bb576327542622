//! Properties that annotations ask for.

use super::{property, unit};
use hako_integration::{Runtime, each};

#[test]
fn annotations_set_properties() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    for (name, value) in [
        ("CollectMode", "'inactive-or-failed'"),
        ("KillSignal", "10"),
        ("TimeoutStopSec", "uint64 7"),
        ("DefaultDependencies", "true"),
        ("After", "['network.target', \"basic.target\"]"),
        ("Description", "'a web server'"),
    ] {
        let key = format!("/annotations/org.systemd.property.{name}");
        bundle.set(&key, value);
    }
    let _container = hako.create(&bundle);
    let unit = unit(&bundle);
    for (name, value) in [
        ("CollectMode", "inactive-or-failed"),
        ("KillSignal", "10"),
        ("TimeoutStopUSec", "7s"),
        ("DefaultDependencies", "yes"),
        ("Description", "a web server"),
    ] {
        assert_eq!(property(&unit, name), value, "{name}");
    }
    let after = property(&unit, "After");
    assert!(after.contains("network.target") && after.contains("basic.target"), "{after}");
}

#[test]
fn other_properties_are_refused() {
    let hako = Runtime::with_systemd();
    each(
        [
            ("ExecStopPost", "[('/bin/sh', ['sh', '-c', 'id'], false)]"),
            ("SuccessAction", "'reboot'"),
            ("Wants", "['rescue.target']"),
            ("Conflicts", "['dbus.service']"),
            ("MemoryMax", "uint64 18446744073709551615"),
            ("Slice", "'-.slice'"),
            ("TimeoutStopUSec", "'long'"),
        ],
        |(name, value)| {
            let mut bundle = hako.bundle();
            bundle.set(&format!("/annotations/org.systemd.property.{name}"), *value);
            hako.refuses(&bundle, &format!("/annotations/org.systemd.property.{name}"));
        },
    );
}

/// What systemd itself does not take is told in its words.
#[test]
fn a_value_that_systemd_refuses_leaves_nothing() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.set("/annotations/org.systemd.property.CollectMode", "'never'");
    hako.run(&bundle).fails("systemd refuses: ");
}

/// Engines send them whatever the manager.
#[test]
fn without_systemd_they_mean_nothing() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/annotations/org.systemd.property.KillSignal", "15");
    let _ = hako.run(&bundle).ok();
}
