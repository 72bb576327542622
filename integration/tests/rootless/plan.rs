//! Nothing is tried that an ordinary user may not do.

use hako_integration::{Bundle, Command, Runtime, wait_until};
use std::fs;
use std::path::Path;

/// Lets strace, as root, write down which system calls of this command failed.
fn traced(command: Command, file: &Path) -> Command {
    trace_by("strace", command, file)
}

fn trace_by(strace: &str, command: Command, file: &Path) -> Command {
    let trace = format!("exec {strace} -f -q -Z -o {} \"$0\" \"$@\"", file.display());
    command.before(&trace).timeout(std::time::Duration::from_secs(60))
}

/// What may be refused: the questions whether a file may be written to and whose a
/// namespace is, which try nothing; and a pipe of the test, which is root's, cannot
/// become the program's.
const ALLOWED: [&str; 3] = [" access(", "NS_GET_USERNS", " fchown(0, "];

/// The calls that were refused for want of privilege.
fn refused(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let is_refusal = |line: &&str| {
        (line.contains(" EPERM ") || line.contains(" EACCES "))
            && !ALLOWED.iter().any(|allowed| line.contains(allowed))
    };
    text.lines().filter(is_refusal).map(str::to_owned).collect()
}

pub fn check(hako: &Runtime, bundle: &Bundle) {
    let file = hako.scratch().join("trace");
    let output = hako.finish(traced(hako.on_bundle(&["run"], bundle), &file), bundle).ok();
    assert!(output.stdout.contains("\"pid\":1"), "{output}");
    let tried = refused(&file);
    assert!(tried.is_empty(), "{tried:#?}");
}

#[test]
fn a_run_with_all_ids_tries_nothing_forbidden() {
    let hako = Runtime::as_user();
    check(&hako, &hako.bundle());
}

#[test]
fn a_run_with_one_id_tries_nothing_forbidden() {
    let hako = Runtime::as_lone_user();
    check(&hako, &super::specified(&hako));
}

#[test]
fn a_run_in_a_delegated_cgroup_tries_nothing_forbidden() {
    let hako = Runtime::as_user().with_delegated_cgroup();
    check(&hako, &hako.bundle());
}

#[test]
fn no_command_tries_anything_forbidden() {
    let hako = Runtime::as_user().with_delegated_cgroup();
    let bundle = hako.bundle();
    let file = hako.scratch().join("trace");
    let judge = |what: &str| {
        let tried = refused(&file);
        assert!(tried.is_empty(), "{what}: {tried:#?}");
        fs::remove_file(&file).unwrap();
    };
    let mut served = bundle.clone();
    served.inspector("sleep 1000");
    let init = hako.scratch().join("trace-of-init");
    // Beside it, so that create ends before the container does.
    let create = trace_by("strace -D", hako.on_bundle(&["create"], &served), &init);
    let container = hako.make(create, &served);
    for words in [
        &["start"][..],
        &["state"],
        &["pause"],
        &["resume"],
        &["ps", "--format", "json"],
        &["events", "--stats"],
        &["kill"],
    ] {
        if words == ["kill"] {
            let exec = container.exec(&["--user", "5:6"], "report");
            let _ = traced(exec, &file).output().ok();
            judge("exec");
        }
        let _ = traced(container.command(words), &file).output().ok();
        judge(words[0]);
    }
    let _ = traced(hako.command(&["list"]), &file).output().ok();
    judge("list");
    let _ = container.command(&["kill"]).arg("KILL").output().ok();
    let _ = container.wait();
    wait_until("the end of the trace", || {
        fs::read_to_string(&init).unwrap().contains("+++ killed by SIGKILL +++")
    });
    let tried = refused(&init);
    assert!(tried.is_empty(), "create and init: {tried:#?}");
    let _ = traced(container.command(&["delete"]), &file).output().ok();
    judge("delete");
}
