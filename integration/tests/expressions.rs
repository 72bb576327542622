//! `kill --regex` and `delete --regex`: several containers at once.

use hako_integration::{Container, Runtime};

/// Three containers, the last one with another end of its name.
fn three(hako: &Runtime) -> [Container<'_>; 3] {
    [(); 3].map(|()| hako.serve(&hako.bundle()))
}

/// Fits the first two, and nothing else.
fn both([one, other, _]: &[Container<'_>; 3]) -> String {
    format!("^({}|{})$", one.id(), other.id())
}

#[test]
fn a_signal_reaches_all_that_fit_and_no_other() {
    let hako = Runtime::new();
    let containers = three(&hako);
    let _ = hako.command(&["kill", "--regex", &both(&containers), "KILL"]).output().ok();
    containers[0].wait();
    containers[1].wait();
    assert_eq!(containers.each_ref().map(Container::status), ["stopped", "stopped", "running"]);
    // One that is stopped already does not keep the signal from the others.
    let all = hako.command(&["kill", "--regex", "^hako-test", "KILL"]).output();
    all.fails("container not running");
    containers[2].wait();
}

#[test]
fn all_that_fit_are_deleted_and_no_other() {
    let hako = Runtime::new();
    let containers = three(&hako);
    let delete = |options: &[&str], expression: &str| {
        hako.command(&["delete", "--regex"]).args(options).arg(expression).output()
    };
    delete(&[], &both(&containers)).fails("cannot delete container that is not stopped: running");
    let _ = delete(&["--force"], &both(&containers)).ok();
    let left = hako.command(&["list", "--quiet"]).output().ok().stdout;
    assert_eq!(left.trim(), containers[2].id());
    assert_eq!(containers[2].ask("syscall getpid"), [1]);
}

#[test]
fn an_expression_that_fits_nothing_is_no_error_and_one_that_is_none_is() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    for verb in ["kill", "delete"] {
        let command = |expression: &str| hako.command(&[verb, "--regex", expression]).output();
        let _ = command("^nobody-").ok();
        let _ = command("/").ok();
        command("(").fails("no regular expression");
    }
    assert_eq!(container.status(), "running");
}
