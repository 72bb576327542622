//! Golden plans: configurations, and the plan or the faults each compiles to.
//!
//! `plans/NAME.json` must compile to `plans/NAME.txt`, `faults/NAME.json` must
//! be refused with `faults/NAME.txt`. `HAKO_BLESS=1 cargo test --test golden`
//! writes the texts anew; what changed is then for `git diff` to show.

mod order;

use hako::cgroups;
use hako::config;
use hako::criu::Outside;
use hako::error::Error;
use hako::host::Host;
use hako::plan::{self, Options, Plan};
use hako::state::{self, Record};
use hako::unique_pid::UniquePid;
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The folder of this file.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/golden")
}

/// Every JSON file in and below a folder, sorted. No folder, no files.
fn configs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(configs(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What the command line adds, by the name of the file.
fn options(path: &Path) -> Options {
    let name = path.file_stem().unwrap_or_default();
    Options {
        id: "golden".into(),
        bundle: "/bundle".into(),
        run: name == "run",
        no_pivot: name == "chroot",
        no_new_keyring: name == "chroot",
        cgroup_manager: match name.to_str() {
            Some(name) if name.starts_with("rootless-") => cgroups::Manager::Auto,
            Some("systemd") => cgroups::Manager::Systemd,
            Some("no-cgroup") => cgroups::Manager::Disabled,
            _ => cgroups::Manager::Cgroupfs,
        },
        ..Options::default()
    }
}

/// Who makes the container, by the name of the file.
fn host(path: &Path) -> Host {
    match path.file_stem().unwrap_or_default().to_str() {
        Some(name) if name.starts_with("rootless-engine") => Host::example_of_namespace_root(),
        Some(name) if name.starts_with("rootless-") => Host::example_of_user(),
        _ => Host::example(),
    }
}

/// What `hako explain` does, on a made-up host.
fn compile(bytes: &[u8], path: &Path) -> Result<(Plan, Vec<String>), Vec<Error>> {
    let (options, host) = (&options(path), host(path));
    let config = config::parse(bytes).map_err(flatten)?;
    let mut faults = config.faults;
    match plan::compile(&config.spec, &host, options) {
        Ok(plan) if faults.is_empty() => return Ok((plan, config.warnings)),
        Ok(_) => {}
        Err(error) => faults.extend(flatten(error)),
    }
    Err(faults)
}

/// One error with others inside, as a list.
fn flatten(mut error: Error) -> Vec<Error> {
    let others = std::mem::take(&mut error.others);
    std::iter::once(error).chain(others.into_iter().flat_map(flatten)).collect()
}

/// A plan or faults, as people read them.
fn describe(compiled: &Result<(Plan, Vec<String>), Vec<Error>>) -> String {
    let mut text = String::new();
    match compiled {
        Ok((plan, warnings)) => {
            for warning in warnings {
                let _ = writeln!(text, "warning: {warning}");
            }
            let _ = write!(text, "{plan}");
        }
        Err(faults) => {
            for fault in faults {
                let _ = writeln!(text, "{fault}");
                if let Some(pointer) = &fault.pointer {
                    let _ = writeln!(text, "    at {pointer}");
                }
                if let Some(hint) = &fault.hint {
                    let _ = writeln!(text, "    hint: {hint}");
                }
            }
        }
    }
    text
}

/// Compares with the expected text, or writes it. Returns what is wrong.
fn compare(expected: &Path, actual: &str) -> Result<(), String> {
    if std::env::var_os("HAKO_BLESS").is_some() {
        return std::fs::write(expected, actual).map_err(|error| error.to_string());
    }
    let text = std::fs::read_to_string(expected).unwrap_or_default();
    if text == actual {
        return Ok(());
    }
    Err(format!("{}\n{}", expected.display(), difference(&text, actual)))
}

/// A line without the number of its step, which changes with every step before it.
fn unnumbered(line: &str) -> &str {
    line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit())
}

/// Lines that went (-) and came (+), each change with a line of context before it.
fn difference(old: &str, new: &str) -> String {
    let old: Vec<&str> = old.lines().collect();
    let new: Vec<&str> = new.lines().collect();
    // The longest common subsequence of the lines from (i, j) on.
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if unnumbered(old[i]) == unnumbered(new[j]) {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut context = None;
    let mut text = String::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && unnumbered(old[i]) == unnumbered(new[j]) {
            context = Some(old[i]);
            (i, j) = (i + 1, j + 1);
            continue;
        }
        if let Some(line) = context.take() {
            let _ = writeln!(text, "  {line}");
        }
        if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            let _ = writeln!(text, "- {}", old[i]);
            i += 1;
        } else {
            let _ = writeln!(text, "+ {}", new[j]);
            j += 1;
        }
    }
    text
}

/// Fails with everything that is wrong at once.
fn report(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} of the expected texts differ; if that is meant: HAKO_BLESS=1 cargo test --test golden\n\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn plans_are_as_expected() {
    let mut wrong = Vec::new();
    let files = configs(&folder().join("plans"));
    assert!(!files.is_empty());
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let compiled = compile(&bytes, &path);
        match &compiled {
            Ok((plan, _)) => order::check(plan),
            Err(_) => wrong.push(format!("{}\n{}", path.display(), describe(&compiled))),
        }
        wrong.extend(compare(&path.with_extension("txt"), &describe(&compiled)).err());
    }
    report(&wrong);
}

#[test]
fn faults_are_as_expected() {
    let mut wrong = Vec::new();
    let files = configs(&folder().join("faults"));
    assert!(!files.is_empty());
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let compiled = compile(&bytes, &path);
        if compiled.is_ok() {
            wrong.push(format!("{} compiles", path.display()));
        }
        wrong.extend(compare(&path.with_extension("txt"), &describe(&compiled)).err());
    }
    report(&wrong);
}

/// What engines wrote, without the parts that are refused for now.
#[test]
fn configurations_of_engines_compile() {
    let mut wrong = Vec::new();
    for path in configs(&folder().join("../bundles")) {
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for (place, key) in [("/linux", "mountLabel"), ("/process", "selinuxLabel")] {
            if let Some(object) = config.pointer_mut(place).and_then(Value::as_object_mut) {
                object.remove(key);
            }
        }
        let compiled = compile(config.to_string().as_bytes(), &path);
        match &compiled {
            Ok((plan, _)) => order::check(plan),
            Err(_) => wrong.push(format!("{}\n{}", path.display(), describe(&compiled))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `hako spec` writes what the golden plans `spec` and `spec-rootless` start from.
#[test]
fn the_example_configurations_are_those_of_hako_spec() {
    let mut wrong = Vec::new();
    for (file, flags) in [("spec.json", &[][..]), ("spec-rootless.json", &["--rootless"])] {
        let bundle = tempfile::tempdir().unwrap();
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_hako"))
            .args(["--root", "/nonexistent", "spec", "--bundle"])
            .arg(bundle.path())
            .args(flags)
            .status()
            .unwrap();
        assert!(status.success());
        let text = std::fs::read_to_string(bundle.path().join(config::FILE_NAME)).unwrap();
        let mut written: Value = serde_json::from_str(&text).unwrap();
        for map in ["/linux/uidMappings", "/linux/gidMappings"] {
            // Whoever runs the test, and whatever ids they may have besides.
            if let Some(maps) = written.pointer_mut(map).and_then(Value::as_array_mut) {
                maps.truncate(1);
                maps[0]["hostID"] = 1000.into();
            }
        }
        if let Some(options) =
            written.pointer_mut("/mounts/2/options").filter(|_| !flags.is_empty())
        {
            options.as_array_mut().unwrap().retain(|option| option != "gid=5");
        }
        let written = format!("{written:#}\n");
        wrong.extend(compare(&folder().join("plans").join(file), &written).err());
    }
    report(&wrong);
}

/// A container that an older hako of the same format made must stay manageable.
#[test]
fn the_state_file_keeps_its_format() {
    let bytes = std::fs::read(folder().join("plans/process.json")).unwrap();
    let (plan, _) = compile(&bytes, Path::new("process")).unwrap();
    let placement = plan.cgroup.clone();
    let record = Record {
        version: Record::VERSION,
        resctrl: None,
        rootfs: "/bundle/rootfs".into(),
        created: "2026-03-02T01:02:03.000000004Z".to_owned(),
        owner: 1000,
        init: Some(UniquePid { pid: 1234, start_time: 5678 }),
        cgroup: cgroups::Record { made: Some(placement.directory()), placement },
        own_pid_namespace: plan.clone.is_new(hako::namespaces::Kind::Pid),
        entry: plan.entry,
        outside: Outside {
            mounts: vec!["/data".into()],
            namespaces: vec![hako::namespaces::Kind::Network],
            obstacle: Some("it cannot be".to_owned()),
        },
        checkpointed: true,
        restored: false,
        identity: plan.identity,
        process: plan.process,
        hooks: plan.hooks,
    };
    let text = format!("{:#}\n", serde_json::to_value(&record).unwrap());
    report(&compare(&folder().join("state.json"), &text).err().into_iter().collect::<Vec<_>>());
    assert_eq!(state::parse(text.as_bytes()).unwrap(), record);
}

/// Newcomers learn from the example in the documentation.
#[test]
fn the_documentation_shows_a_real_plan() {
    let text = std::fs::read_to_string(folder().join("../../docs/architecture.md")).unwrap();
    let plan = std::fs::read_to_string(folder().join("plans/spec.txt")).unwrap();
    let plan = plan.replace("golden", "web");
    let example =
        text.split("```text\ncontainer web\n").nth(1).unwrap().split("```").next().unwrap();
    for line in example.lines() {
        let line = line.split(" -- ").next().unwrap().trim_end();
        let is_gap = line.is_empty() || line.trim() == "...";
        assert!(is_gap || plan.lines().any(|real| real == line), "{line:?} is not in\n{plan}");
    }
}
