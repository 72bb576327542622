use super::*;
use std::fs;
use std::time::{Duration, Instant};

fn at<'a>(directory: &'a Path, state_json: &'a [u8]) -> Site<'a> {
    Site { state_json, directory, noted_in: None }
}

fn shell(script: &str, timeout: Option<u32>) -> Hook {
    Hook {
        path: "/bin/sh".into(),
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["A=b c".to_owned()],
        timeout,
    }
}

fn hooks(kind: Kind, list: Vec<Hook>) -> Hooks {
    Hooks(BTreeMap::from([(kind, list)]))
}

/// The message of the last of `scripts`, which fails.
fn failure(scripts: &[&str], timeout: Option<u32>) -> String {
    let list = scripts.iter().map(|script| shell(script, timeout)).collect();
    let hooks = hooks(Kind::CreateRuntime, list);
    let error = run(&hooks, Kind::CreateRuntime, &at(Path::new("/tmp"), b"{}")).unwrap_err();
    let pointer = format!("/hooks/createRuntime/{}", scripts.len() - 1);
    assert_eq!(error.pointer, Some(pointer));
    error.to_string()
}

#[test]
fn hook_sees_what_it_shall() {
    let directory = tempfile::tempdir().unwrap();
    let script = "cat >state; pwd >cwd; env >env; readlink /proc/$$/fd/* >fd; echo out; \
                  ps -o pgid= -p $$ >group; echo $$ >pid; grep -E 'Sig(Blk|Ign)' /proc/self/status >signals";
    let hooks = hooks(Kind::Poststart, vec![shell(script, None)]);
    let state = vec![b'x'; 300_000];
    let here = std::env::current_dir().unwrap();
    run(&hooks, Kind::Poststart, &at(directory.path(), &state)).unwrap();
    assert_eq!(std::env::current_dir().unwrap(), here);
    let read = |name| fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(read("state").as_bytes() == state);
    assert_eq!(Path::new(read("cwd").trim()), directory.path());
    let mut env: Vec<String> = read("env").lines().map(str::to_owned).collect();
    // Shells add these themselves.
    env.retain(|line| !["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own)));
    assert_eq!(env, ["A=b c"]);
    // The state as standard input, and nowhere else.
    assert_eq!(read("fd").matches("memfd:state").count(), 1);
    assert!(read("fd").starts_with("/memfd:state"));
    assert_eq!(read("group").trim(), read("pid").trim());
    // The two that glibc keeps for itself do not count.
    let signals = read("signals").replace("0000000180000000", "0000000000000000");
    assert_eq!(signals.matches("0000000000000000").count(), 2, "{signals}");
}

#[test]
fn failures_are_described() {
    let text = failure(&["true", "echo 'no \"net\"' >&2; echo out; exit 3"], None);
    let start = "error running createRuntime hook #1: /bin/sh: exit status 3 after ";
    assert!(text.starts_with(start), "{text}");
    assert!(text.ends_with(" ms, stderr: \"no \\\"net\\\"\""), "{text}");
    let text = failure(&["kill -SEGV $$"], None);
    let start = "error running createRuntime hook #0: /bin/sh: killed by SIGSEGV after ";
    assert!(text.starts_with(start) && text.ends_with(" ms"), "{text}");
    let long = "i=0; while [ $i -lt 9000 ]; do echo line $i; i=$((i+1)); done >&2; exit 1";
    let text = failure(&[long], None);
    assert!(text.contains("stderr: \"…") && text.ends_with("line 8999\""), "{text}");
    assert!(text.len() < 6000);
}

#[test]
fn the_first_failure_stops() {
    let directory = tempfile::tempdir().unwrap();
    let list = vec![shell("exit 1", None), shell("touch ran", None), shell("exit 2", None)];
    let hooks = hooks(Kind::Poststop, list);
    let ran = directory.path().join("ran");
    let site = at(directory.path(), b"{}");
    run(&hooks, Kind::Poststop, &site).unwrap_err();
    assert!(!ran.exists());
    let warnings = run_all_warn(&hooks, Kind::Poststop, &site);
    assert!(ran.exists());
    let [first, second] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(first.to_string().starts_with("error running poststop hook #0: "));
    assert_eq!(second.pointer.as_deref(), Some("/hooks/poststop/2"));
    assert!(run(&hooks, Kind::Poststart, &site).is_ok());
}

#[test]
fn timeout_ends_the_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let late = directory.path().join("late");
    let script = format!("(sleep 2; touch {}) & sleep 100", late.display());
    let started = Instant::now();
    let text = failure(&[&script], Some(1));
    assert!(started.elapsed() < Duration::from_millis(1800));
    assert!(text.contains("killed after 1") && text.ends_with("its timeout is 1 s"), "{text}");
    std::thread::sleep(Duration::from_millis(1600));
    assert!(!late.exists());
}

#[test]
fn grandchildren_are_not_waited_for() {
    let started = Instant::now();
    failure(&["sleep 3 & exit 1"], None);
    failure(&["(while :; do echo y; done >&2 & sleep 1; kill $!) & exit 1"], None);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn hook_that_cannot_be_executed() {
    let mut hook = shell("", None);
    hook.path = "/no/hook".into();
    let kind = Kind::StartContainer;
    let error = run(&hooks(kind, vec![hook]), kind, &at(Path::new("/"), b"")).unwrap_err();
    let expected = "error running startContainer hook #0: exec: \"/no/hook\": stat /no/hook: \
                    no such file or directory (ENOENT)";
    assert_eq!(error.to_string(), expected);
    let hooks = hooks(Kind::Prestart, vec![shell("", None)]);
    run(&hooks, Kind::Prestart, &at(Path::new("/no/bundle"), b"")).unwrap();
}

fn resolved(json: &str) -> (Hooks, Vec<(String, String)>) {
    let spec: SpecHooks = serde_json::from_str(json).unwrap();
    let mut faults = Vec::new();
    let hooks = resolve(Some(&spec), &mut |fault| faults.push(fault));
    let faults = faults.into_iter();
    (hooks, faults.map(|fault| (fault.pointer.unwrap(), fault.message)).collect())
}

#[test]
fn planning_fills_in_and_finds_faults() {
    let (hooks, faults) = resolved(
        r#"{"prestart": [{"path": "/a"}], "poststop": [{"path": "/b", "args": ["x", "y"], "env": ["A=1"], "timeout": 5}]}"#,
    );
    assert_eq!(faults, []);
    assert_eq!(hooks.of(Kind::Prestart)[0].args, ["/a"]);
    assert_eq!(hooks.of(Kind::Poststop)[0].timeout, Some(5));
    assert_eq!(hooks.of(Kind::Poststart), []);
    let stored = serde_json::to_string(&hooks).unwrap();
    assert_eq!(serde_json::from_str::<Hooks>(&stored).unwrap(), hooks);
    let (_, faults) = resolved(
        r#"{"createContainer": [{"path": "/ok"}, {"path": "a", "args": ["x", "\u0000"], "env": ["A", "=b"], "timeout": 0}],
            "startContainer": [{"path": "/\u0000", "timeout": 4294967296}]}"#,
    );
    let pointers: Vec<&str> = faults.iter().map(|(pointer, _)| pointer.as_str()).collect();
    let expected = [
        "/hooks/createContainer/1/path",
        "/hooks/createContainer/1/args/1",
        "/hooks/createContainer/1/env/0",
        "/hooks/createContainer/1/env/1",
        "/hooks/createContainer/1/timeout",
        "/hooks/startContainer/0/path",
        "/hooks/startContainer/0/timeout",
    ];
    assert_eq!(pointers, expected);
    assert_eq!(resolve(None, &mut |_| panic!()), Hooks::default());
}
