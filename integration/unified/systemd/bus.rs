//! The ways to systemd.

use super::{assert_gone, property, unit};
use hako_integration::Runtime;
use std::path::Path;

const PRIVATE: &str = "/run/systemd/private";
const BROKER: &str = "/run/dbus/system_bus_socket";

#[test]
fn the_message_bus_is_the_second_way() {
    let hako = Runtime::with_systemd();
    let nothing = hako.file("nothing", "");
    hako.bind(&nothing, Path::new(PRIVATE), false);
    let bundle = hako.bundle();
    let container = hako.create(&bundle);
    assert_eq!(property(&unit(&bundle), "Delegate"), "yes");
    drop(container);
    assert_gone(&unit(&bundle));
}

#[test]
fn the_message_bus_is_not_needed() {
    let hako = Runtime::with_systemd();
    let nothing = hako.file("nothing", "");
    hako.bind(&nothing, Path::new(BROKER), false);
    let bundle = hako.bundle();
    let _ = hako.run(&bundle).ok();
}

#[test]
fn without_any_way_the_reasons_are_told() {
    let hako = Runtime::with_systemd();
    let nothing = hako.file("nothing", "");
    hako.bind(&nothing, Path::new(BROKER), false);
    hako.bind(&nothing, Path::new(PRIVATE), false);
    let bundle = hako.bundle();
    let output = hako.run(&bundle);
    output.fails("cannot reach the system instance of systemd: ");
    assert!(output.stderr.contains(PRIVATE) && output.stderr.contains(BROKER), "{output}");
}
