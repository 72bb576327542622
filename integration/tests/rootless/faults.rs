//! Faults on purpose (`src/fault.rs`) at every step of a user's container.

use hako_integration::{Runtime, each};

#[test]
fn nothing_remains_of_a_step_that_fails() {
    let hako = Runtime::debug_build().for_user().with_delegated_cgroup();
    let mut bundle = hako.bundle();
    bundle.inspector("print ran");
    let explain = hako.on_bundle(&["explain", "--format", "json"], &bundle);
    let plan = explain.output().ok().json();
    let count = |list: &str| plan[list].as_array().expect("a list of steps").len();
    let of = |side: &'static str, count: usize| (1..=count).map(move |step| (side, step));
    // What a gate is for is not in the plan of `run`.
    let steps: Vec<_> =
        of("runtime", count("parent")).chain(of("init", count("child") - 2)).collect();
    assert!(steps.len() > 40, "{steps:?}");
    let faults = steps.iter().flat_map(|(side, step)| ["1", "kill"].map(|how| (*side, *step, how)));
    each(faults.collect::<Vec<_>>(), |(side, step, how)| {
        let fault = format!("{side}:{step}:{how}");
        let output = hako.on_bundle(&["run"], &bundle).env("HAKO_FAULT", &fault).output();
        assert_ne!(output.code, Some(0), "{output}");
        assert!(*how == "kill" || output.stderr.contains(": fault on purpose: "), "{output}");
        if (*side, *how) == ("runtime", "kill") {
            // Nobody was there to clean up.
            let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
        }
        hako.verify_gone(&bundle, &output);
    });
    assert_eq!(hako.run(&bundle).ok().stdout, "ran\n");
}
