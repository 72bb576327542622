//! Faults at every step of a plan, made by a debug build on request
//! (`src/fault.rs`): each step fails once, and once its process is killed there.
//! The error names the step, and nothing is left behind.

use hako_integration::{Bundle, Output, Runtime, each, is_peer, json};

/// The steps of the runtime and of init, as `hako explain` counts them.
fn steps(hako: &Runtime, bundle: &Bundle) -> Vec<(&'static str, usize)> {
    bundle.save();
    let command = hako.command(&["explain", "--format", "json", "--bundle"]).arg(bundle.dir());
    let plan = command.last(bundle.id()).output().ok().json();
    let count = |list: &str| plan[list].as_array().expect("a list of steps").len();
    let (runtime, init) = (count("parent"), count("child"));
    assert!(runtime > 2 && init > 20, "{runtime} and {init} steps");
    let of = |side, count| (1..=count).map(move |number| (side, number));
    of("runtime", runtime).chain(of("init", init)).collect()
}

/// Tries a fault at each step of `run` and of `create`.
fn walk(prepare: impl Fn(&Runtime, &mut Bundle)) {
    if is_peer() {
        return; // No peer can be asked for faults.
    }
    let hako = Runtime::debug_build();
    let mut bundle = hako.bundle();
    prepare(&hako, &mut bundle);
    let steps = steps(&hako, &bundle);
    let faults = |(side, number): &(&str, usize)| {
        ["1", "12", "38", "kill"].map(|fault| format!("{side}:{number}:{fault}"))
    };
    // What a gate is for is not in the plan of `run`.
    const GATE: usize = 2;
    let of_run = steps.iter().filter(|step| !steps[steps.len() - GATE..].contains(step));
    each(of_run.flat_map(faults).collect::<Vec<_>>(), |fault| {
        let command = hako.on_bundle(&["run"], &bundle).env("HAKO_FAULT", fault);
        let output = command.output();
        judge(&output, fault.ends_with("kill"));
        if fault.starts_with("runtime") && fault.ends_with("kill") {
            // Nobody was there to clean up.
            let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
        }
        hako.verify_gone(&bundle, &output);
    });
    each(steps.iter().flat_map(faults).collect::<Vec<_>>(), |fault| {
        let is_kill = fault.ends_with("kill");
        let command = hako.on_bundle(&["create"], &bundle).env("HAKO_FAULT", fault);
        let mut output = command.output();
        let created = output.code == Some(0);
        if created {
            output = hako.command(&["start", bundle.id()]).output();
        }
        if created {
            // Of its steps after that, the last is done at the same time as start.
            assert!(is_kill || output.code != Some(0), "{output}");
        } else {
            judge(&output, is_kill);
        }
        if created || fault.starts_with("runtime") && is_kill {
            let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
        }
        hako.verify_gone(&bundle, &output);
    });
    assert_eq!(hako.run(&bundle).ok().stdout, "ran\n");
}

/// The one sentence about a fault names it, and with it the step.
#[track_caller]
fn judge(output: &Output, is_kill: bool) {
    assert_ne!(output.code, Some(0), "{output}");
    if !is_kill {
        let sentences = output.stderr.lines().filter(|line| line.starts_with("hako: "));
        assert_eq!(sentences.count(), 1, "{output}");
        assert!(output.stderr.contains(": fault on purpose: "), "{output}");
    }
}

#[test]
fn at_every_step_of_a_plain_container() {
    walk(|_, bundle| {
        bundle.inspector("print ran");
    });
}

#[test]
fn at_every_step_in_a_user_namespace_of_its_own() {
    walk(|_, bundle| {
        bundle.user_namespace(100_000).inspector("print ran");
    });
}

#[test]
fn at_every_step_with_hooks_a_filter_and_volumes() {
    walk(|hako, bundle| {
        let hook = json!([{ "path": "/bin/true" }]);
        for kind in ["createRuntime", "createContainer", "poststop"] {
            bundle.set(&format!("/hooks/{kind}"), hook.clone());
        }
        bundle.bind(&hako.dir("volume"), "/volume", &["rbind"]);
        bundle.set(
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                { "names": ["swapon"], "action": "SCMP_ACT_ERRNO" }
            ] }),
        );
        bundle.set("/annotations/org.hako.overlay", "tmpfs").inspector("print ran");
    });
}
