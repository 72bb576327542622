//! What hako prints for people and programs: lists, examples, versions, logs and plans.

use hako_integration::{Bundle, Runtime, Value, cgroup_dir, each, in_set, is_peer, json};
use std::fs;

#[test]
fn the_version_has_the_lines_that_engines_read() {
    let hako = Runtime::new();
    for flag in ["--version", "-v"] {
        let output = hako.bare().arg(flag).output().ok();
        let lines: Vec<&str> = output.stdout.lines().collect();
        let name = hako.program().file_name().unwrap().to_str().unwrap();
        assert!(lines[0].starts_with(&format!("{name} version ")), "{output}");
        assert!(lines[1].starts_with("commit: "), "{output}");
        assert!(lines[2].starts_with("spec: 1."), "{output}");
        assert!(is_peer() || lines[2] == "spec: 1.3.0", "{output}");
        assert!(lines[3].contains("seccomp: 2."), "{output}");
    }
}

#[test]
fn the_list_shows_every_container() {
    let hako = Runtime::new();
    let created = hako.create(&hako.bundle());
    let running_bundle = hako.bundle();
    let running = hako.serve(&running_bundle);
    let stopped = hako.create(&hako.bundle());
    stopped.kill("KILL").wait();
    let rows = [(&created, "created"), (&running, "running"), (&stopped, "stopped")];

    let table = hako.command(&["list"]).output().ok().stdout;
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let lines: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 3, "{table}");
    for (container, status) in rows {
        let pid = if status == "stopped" { 0 } else { container.pid() }.to_string();
        let line = lines.iter().find(|line| line[0] == container.id()).expect("a line");
        assert_eq!(line[1..3], [pid.as_str(), status]);
        assert!(line[3].contains("/bundle-"), "{line:?}");
        assert!(line[4].starts_with("20") && line[4].ends_with('Z'), "{line:?}");
        assert_eq!(line[5], "root");
    }

    for format in ["--format=json", "-fjson"] {
        let list = hako.command(&["list", format]).output().ok().json();
        assert_eq!(list.as_array().unwrap().len(), 3);
        for (container, status) in rows {
            let of_ours = |item: &&Value| item["id"] == container.id();
            let item = list.as_array().unwrap().iter().find(of_ours).expect("an item");
            assert_eq!((&item["status"], &item["owner"]), (&json!(status), &json!("root")));
            let state = container.state();
            for field in ["pid", "bundle", "rootfs", "created"] {
                assert_eq!(item[field], state[field], "{field}");
            }
        }
    }

    for flag in ["--quiet", "-q"] {
        let output = hako.command(&["list", flag]).output().ok().stdout;
        let mut ids: Vec<&str> = output.lines().collect();
        ids.sort_unstable();
        let mut expected = rows.map(|(container, _)| container.id());
        expected.sort_unstable();
        assert_eq!(ids, expected);
    }
}

#[test]
fn an_empty_list_is_an_empty_list() {
    let hako = Runtime::new();
    fs::create_dir_all(hako.root()).unwrap();
    let table = hako.command(&["list"]).output().ok().stdout;
    assert_eq!(
        table.split_whitespace().collect::<Vec<_>>().join(" "),
        "ID PID STATUS BUNDLE CREATED OWNER"
    );
    assert_eq!(hako.command(&["list", "-q"]).output().ok().stdout, "");
    let list = hako.command(&["list", "-f", "json"]).output().ok().json();
    assert!(list.is_null() || list == json!([]), "{list}");
}

/// An empty answer would hide a typing error.
#[test]
fn a_list_of_nowhere_is_an_error() {
    let hako = Runtime::new();
    hako.command(&["list", "--format", "yaml"]).output().fails("");
    let missing = hako.scratch().join("missing");
    let output = hako.bare().arg("--root").arg(&missing).arg("list").output();
    output.fails(missing.to_str().unwrap());
    assert_eq!(output.stdout, "");
}

/// Runs an example that `spec` has written, with the inspector as its program.
fn run_example(hako: &Runtime, bundle: &mut Bundle, text: &str) -> Value {
    let cgroup = bundle.cgroup().to_string();
    bundle.config = serde_json::from_str(text).expect("an example is JSON");
    bundle.set("/process/terminal", false).set("/process/args", ["/bin/inspector"]);
    bundle.set("/linux/cgroupsPath", cgroup);
    hako.run(bundle).ok().json()
}

#[test]
fn spec_writes_an_example_that_runs() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let config = bundle.dir().join("config.json");
    let _ = hako.bare().arg("spec").current_dir(bundle.dir()).output().ok();
    let text = fs::read_to_string(&config).expect("in the current directory");
    let example: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(example["process"]["terminal"], true);
    assert_eq!(example["process"]["args"], json!(["sh"]));
    assert_eq!(example["root"], json!({ "path": "rootfs", "readonly": true }));
    let seen = run_example(&hako, &mut bundle, &text);
    assert_eq!((&seen["pid"], &seen["uid"]["real"]), (&json!(1), &json!(0)));
    assert_eq!(seen["uid_map"], json!([[0, 0, 4_294_967_295_u64]]));
}

#[test]
fn spec_for_an_unprivileged_user_has_a_user_namespace() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let dir = bundle.dir().to_str().unwrap().to_string();
    for words in [["spec", "--rootless", "--bundle", &dir], ["spec", "-b", &dir, "--rootless"]] {
        let _ = hako.bare().args(words).current_dir("/").output().ok();
        let config = bundle.dir().join("config.json");
        let text = fs::read_to_string(&config).expect("in the bundle");
        let example: Value = serde_json::from_str(&text).unwrap();
        let kinds: Value = example["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["type"].clone())
            .collect();
        assert!(in_set(&kinds, "user") && !in_set(&kinds, "network"), "{kinds}");
        let seen = run_example(&hako, &mut bundle, &text);
        fs::remove_file(&config).unwrap();
        assert_eq!(seen["uid_map"], json!([[0, 0, 1]]));
    }
}

#[test]
fn spec_never_overwrites() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    bundle.save_text("precious");
    for words in [&["spec"][..], &["spec", "--bundle", "."], &["spec", "--rootless"]] {
        hako.bare().args(words).current_dir(bundle.dir()).output().fails("config.json");
        assert_eq!(fs::read_to_string(bundle.dir().join("config.json")).unwrap(), "precious");
    }
}

#[test]
fn spec_may_have_another_name() {
    let hako = Runtime::new();
    let directory = hako.dir("d");
    for words in [&["--bundle", "d", "--config", "one.json"][..], &["-b", "d", "-f", "two.json"]] {
        let command = hako.bare().arg("spec").args(words).current_dir(hako.scratch());
        let _ = command.output().ok();
        let text = fs::read_to_string(directory.join(words[3])).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["ociVersion"], "1.3.0");
    }
}

/// The shell is the judge; fish is not everywhere.
#[test]
fn a_shell_completes_commands_options_and_ids() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    let container = hako.create(&hako.bundle());
    let script = hako.bare().args(["completion", "bash"]).output().ok().stdout;
    let complete = |line: &str| -> String {
        let ask = format!(
            "hako() {{ '{}' --root '{}' \"$@\"; }}\n{script}\nCOMP_WORDS=({line} \"\")\n\
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n_hako\necho \"${{COMPREPLY[@]}}\"",
            hako.program().display(),
            hako.root().display()
        );
        let output = std::process::Command::new("bash").args(["-c", &ask]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let words = |line: &str| complete(line).split_whitespace().map(String::from).collect();
    let at_first: Vec<String> = words("hako");
    for word in ["create", "completion", "--root", "--systemd-cgroup"] {
        assert!(at_first.iter().any(|known| known == word), "{word}: {at_first:?}");
    }
    let kill: Vec<String> = words("hako --debug kill");
    for word in ["--all", "--log-format", container.id()] {
        assert!(kill.iter().any(|known| known == word), "{word}: {kill:?}");
    }
    let create: Vec<String> = words("hako create");
    assert!(!create.iter().any(|known| known == container.id()), "{create:?}");
    for (shell, word) in [("zsh", "bashcompinit"), ("fish", "complete -c hako")] {
        let script = hako.bare().args(["completion", shell]).output().ok().stdout;
        assert!(script.contains(word), "{script}");
    }
}

/// A bundle that cannot run, and has something to be warned about on the way.
fn broken(hako: &Runtime) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.set("/process/capabilities/bounding/-", "CAP_NO_SUCH");
    bundle.set("/mounts/-", json!({ "destination": "/x", "type": "bind", "source": "/no/such\n\"source\"", "options": ["bind"] }));
    bundle
}

/// One engine reads the last line, another the whole file as one JSON value.
#[test]
fn a_failure_is_exactly_one_json_object_in_the_log() {
    let hako = Runtime::new();
    let log = hako.scratch().join("log.json");
    let log = log.to_str().unwrap();
    let rows: [&[&str]; 3] = [
        &["--log", log, "--log-format", "json", "create"],
        &["--log-format=json", "--log", log, "run"],
        &["--debug", "--log", log, "--log-format", "json", "create"],
    ];
    each(rows, |words| {
        let bundle = broken(&hako);
        let output = hako.finish(hako.on_bundle(words, &bundle), &bundle);
        output.fails("");
        assert_eq!(output.stdout, "");
        let text = fs::read_to_string(log).unwrap();
        fs::remove_file(log).unwrap();
        let errors: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("every line is JSON"))
            .filter(|line: &Value| line["level"] == "error")
            .collect();
        assert_eq!(errors.len(), 1, "{text}");
        let message = errors[0]["msg"].as_str().expect("a message");
        assert!(message.to_lowercase().contains("no such file or directory"), "{message}");
        let time = errors[0]["time"].as_str().expect("a time");
        assert!(time.starts_with("20") && time.contains('T'), "{time}");
        if !words.contains(&"--debug") && !is_peer() {
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        if !is_peer() {
            let pointer = errors[0]["pointer"].as_str().expect("a pointer");
            assert!(pointer.starts_with("/mounts/7"), "{text}");
        }
    });
}

#[test]
fn the_log_is_added_to_and_stays_empty_on_success() {
    let hako = Runtime::new();
    let log = hako.file("log", "earlier\n");
    let bundle = broken(&hako);
    let command = hako.on_bundle(&["--log", log.to_str().unwrap(), "create"], &bundle);
    command.output().fails("");
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("earlier\n"), "{text}");
    let error =
        text.lines().find(|line| line.contains("level=error")).expect("a line with the level");
    assert!(error.contains("time=\"") && error.contains("msg=\""), "{error}");

    // As crun writes it.
    let file = hako.scratch().join("prefixed");
    let option = format!("file:{}", file.display());
    let _ = hako.on_bundle(&["--log", &option, "create"], &bundle).output();
    assert!(fs::read_to_string(file).unwrap().contains("level=error"));

    let log = hako.scratch().join("fresh");
    let mut bundle = hako.bundle();
    let command = hako.on_bundle(
        &["--log", log.to_str().unwrap(), "--log-format", "json", "run"],
        bundle.inspector("sleep 0"),
    );
    let _ = hako.finish(command, &bundle).ok();
    assert_eq!(fs::read_to_string(&log).unwrap_or_default(), "");
}

#[test]
fn the_level_says_which_messages_there_are() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/capabilities/bounding/-", "CAP_NO_SUCH").inspector("print ran");
    for (level, warns, tells) in [
        ("error", false, false),
        ("warning", true, false),
        ("warn", true, false),
        ("debug", true, true),
    ] {
        let output = hako.on_bundle(&["--log-level", level, "run"], &bundle).output().ok();
        assert_eq!(output.stdout, "ran\n", "{level}");
        assert_eq!(output.stderr.contains("CAP_NO_SUCH"), warns, "{level}: {output}");
        assert_eq!(output.stderr.contains("level=debug"), tells, "{level}: {output}");
    }
    hako.command(&["--log-level", "error", "state", "nobody"]).output().fails("does not exist");
}

#[test]
fn a_log_that_cannot_be_written_is_an_error() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let output = hako.on_bundle(&["--log", "/no/such/dir/log", "run"], &bundle).output();
    output.fails("/no/such/dir/log");
    hako.verify_gone(&bundle, &output);
}

#[test]
fn an_error_is_one_sentence_with_a_place() {
    let hako = Runtime::new();
    let output = hako.refuses(&broken(&hako), "/mounts/7");
    if is_peer() {
        return;
    }
    let lines: Vec<&str> =
        output.stderr.lines().filter(|line| !line.contains(" warning: ")).collect();
    assert_eq!(lines.len(), 2, "{output}");
    assert!(lines[0].starts_with("hako: run "), "{output}");
    assert!(lines[1].starts_with("  config.json: /mounts/7"), "{output}");
    assert!(lines[1].contains("hint: "), "{output}");
}

#[test]
fn explain_tells_the_plan_and_creates_nothing() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/hostname", "a-name-to-find");
    let before = files_below(bundle.dir());
    let explain = |words: &[&str]| {
        let output = hako.on_bundle(words, &bundle).output().ok();
        assert_eq!(output.stderr, "");
        assert!(!hako.root().exists(), "a state directory was made");
        assert!(!cgroup_dir(bundle.cgroup()).exists(), "a cgroup was made");
        output
    };
    let text = explain(&["explain"]).stdout;
    for part in ["a-name-to-find", "/dev/mqueue", "/bin/inspector", bundle.id(), "/mounts/0"] {
        assert!(text.contains(part), "`{part}` is not in the plan:\n{text}");
    }
    let plan = explain(&["explain", "--format", "json"]).json();
    assert!(plan.is_object() && plan.to_string().contains("a-name-to-find"), "{plan}");
    let after = files_below(bundle.dir());
    assert_eq!(after.len(), before.len() + 1, "config.json alone is new: {after:?}");
}

fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        }
        files.push(entry.path());
    }
    files
}

#[test]
fn explain_finds_the_faults_that_create_would_find() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/cwd", "relative").set("/process/user/umask", 0o7777);
    for format in ["text", "json"] {
        let output = hako.on_bundle(&["explain", "--format", format], &bundle).output();
        output.refuses("/process/cwd");
        output.refuses("/process/user/umask");
        assert_eq!(output.stdout, "");
    }
}

/// Whoever is not root can still see what would be done for them, without so much as a
/// directory for state.
#[test]
fn explain_needs_no_privileges() {
    let hako = Runtime::as_user();
    let command = hako.on_bundle(&["explain"], &hako.bundle()).env("XDG_RUNTIME_DIR", "");
    assert!(command.output().ok().stdout.contains("/bin/inspector"));
}
