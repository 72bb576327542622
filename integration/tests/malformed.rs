//! Input that is wrong in one place, from the tables in `malformed/`: each is refused within two
//! seconds, with one sentence in plain words and the one place it is about, and leaves nothing.

use hako_integration::{Bundle, Container, Output, Runtime, Value, each, is_peer, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One row of a table.
struct Case {
    row: Value,
    table: &'static str,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.table, self.row)
    }
}

impl Case {
    fn text(&self, key: &str) -> Option<&str> {
        self.row[key].as_str()
    }

    /// Where the fault is: a JSON pointer, unless the file is no JSON at all.
    fn place(&self) -> Option<&str> {
        self.text("place").or(self.text("at"))
    }

    /// Makes the fault, after what it needs elsewhere.
    fn spoil(&self, bundle: &mut Bundle) {
        self.set(bundle);
        let at = self.text("at").unwrap_or_default();
        match self.row.get("value") {
            Some(value) => bundle.set(at, value.clone()),
            None => bundle.remove(at),
        };
    }

    fn set(&self, bundle: &mut Bundle) {
        for (pointer, value) in self.row["set"].as_object().into_iter().flatten() {
            bundle.set(pointer, value.clone());
        }
    }

    /// What the report must say, with the names of this run.
    fn check_sentence(&self, output: &Output, names: &[(&str, String)]) {
        let first = output.stderr.lines().next().unwrap_or_default();
        let said = names.iter().fold(first.to_owned(), |text, (name, value)| {
            text.replace(value.as_str(), &format!("{{{name}}}"))
        });
        let expected = self.text("says").unwrap_or_default();
        assert!(!expected.is_empty() && said.contains(expected), "it says `{said}`");
    }
}

/// The rows of a table.
fn table(name: &'static str, text: &str) -> Vec<Case> {
    let rows: Vec<Value> = serde_json::from_str(text).expect("a table is a list");
    rows.into_iter().map(|row| Case { row, table: name }).collect()
}

macro_rules! table {
    ($name:literal) => {
        table($name, include_str!(concat!("../malformed/", $name, ".json")))
    };
}

/// Words that mean something to whoever wrote the parser, and to nobody else.
const JARGON: [&str; 14] = [
    "`",
    "expected",
    "invalid type",
    "invalid value",
    "missing field",
    "unknown variant",
    "untagged",
    "struct ",
    "sequence",
    "u32",
    "i64",
    "Some(",
    "panicked",
    "unwrap",
];

/// One error of one sentence, soon, in plain words, and about this place in
/// that document.
#[track_caller]
fn judge(output: &Output, status: i32, document: &str, place: Option<&str>) {
    assert_eq!(output.code, Some(status), "{output}");
    assert!(output.elapsed < Duration::from_secs(2), "{output}");
    assert_eq!(output.stdout, "", "{output}");
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert!(lines.first().is_some_and(|line| line.starts_with("hako: ")), "{output}");
    let more =
        lines.iter().skip(1).filter(|line| line.starts_with("hako: ") || line.contains("  and: "));
    assert_eq!(more.count(), 0, "more than one sentence\n{output}");
    let jargon: Vec<_> = JARGON.iter().filter(|word| lines[0].contains(**word)).collect();
    assert!(jargon.is_empty(), "jargon: {jargon:?}\n{output}");
    assert!(output.stderr.len() < 1024 + 3 * 4096, "too long: {} bytes", output.stderr.len());
    let Some(place) = place else { return };
    let alone = match place {
        "" => format!("  {document}"),
        place => format!("  {document}: {place}"),
    };
    let hinted = format!("{alone}   hint: ");
    let named = lines.get(1).is_some_and(|line| *line == alone || line.starts_with(&hinted));
    assert!(named, "expected `{}`\n{output}", alone.trim());
}

/// `create` of a bundle with this config.json must fail so.
fn refuse(hako: &Runtime, bundle: &Bundle, cgroup: &Bundle, case: &Case) {
    let pid_file = bundle.dir().join("pid");
    let command = hako.command(&["create", "--bundle"]).arg(bundle.dir());
    let output = command.arg("--pid-file").arg(&pid_file).last(bundle.id()).output();
    hako.verify_gone(cgroup, &output);
    assert!(!pid_file.exists(), "the pid file is left\n{output}");
    judge(&output, 1, "config.json", case.place());
    case.check_sentence(&output, &[("id", bundle.id().into()), ("bundle", shown(bundle.dir()))]);
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[track_caller]
fn configurations_are_refused(cases: Vec<Case>) {
    if is_peer() {
        return; // Where a field is lost, some peers take the root cgroup and its processes.
    }
    let hako = Runtime::new();
    let sound = hako.bundle();
    each(cases, |case| {
        let mut bundle = sound.clone();
        case.spoil(&mut bundle);
        bundle.save();
        refuse(&hako, &bundle, &sound, case);
    });
}

#[test]
fn configurations_as_a_whole() {
    configurations_are_refused(table!("document"));
}

#[test]
fn process() {
    configurations_are_refused(table!("process"));
}

#[test]
fn mounts() {
    configurations_are_refused(table!("mounts"));
}

#[test]
fn linux() {
    configurations_are_refused(table!("linux"));
}

#[test]
fn hooks() {
    configurations_are_refused(table!("hooks"));
}

#[test]
fn resources() {
    configurations_are_refused(table!("resources"));
}

#[test]
fn seccomp() {
    configurations_are_refused(table!("seccomp"));
}

#[test]
fn texts_that_are_no_json() {
    if is_peer() {
        return; // As above.
    }
    let hako = Runtime::new();
    let bundle = hako.bundle();
    each(table!("text"), |case| {
        bundle.save_text(case.text("text").unwrap_or_default());
        refuse(&hako, &bundle, &bundle, case);
    });
}

/// Writes a file for a running container to be changed by, or to execute.
fn refuse_file(hako: &Runtime, container: &Container, words: &[&str], status: i32, case: &Case) {
    let file = hako.file("file.json", case.text("text").unwrap_or_default());
    let output = hako.command(words).arg(&file).arg(container.id()).output();
    judge(&output, status, &shown(&file), case.place());
    case.check_sentence(&output, &[("file", shown(&file)), ("id", container.id().into())]);
}

#[test]
fn files_that_describe_a_process() {
    if is_peer() {
        return; // Their exit codes and sentences are their own.
    }
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    each(table!("exec"), |case| {
        refuse_file(&hako, &container, &["exec", "--process"], 255, case);
        let processes = container.command(&["ps", "--format", "json"]).output().ok().json();
        assert_eq!(processes, json!([container.pid()]));
    });
}

#[test]
fn files_with_resources() {
    if is_peer() {
        return; // Their sentences are their own.
    }
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    each(table!("update"), |case| {
        refuse_file(&hako, &container, &["update", "--resources"], 1, case);
    });
    assert_eq!(container.status(), "running");
}

#[test]
fn records_of_containers() {
    if is_peer() {
        return; // Their records are their own.
    }
    let hako = Runtime::new();
    each(table!("state"), |case| {
        let container = hako.serve(&hako.bundle());
        let file = hako.root().join(container.id()).join("state.json");
        let mut record = hako.bundle();
        record.config = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        case.spoil(&mut record);
        fs::write(&file, record.config.to_string()).unwrap();
        let names = [("file", shown(&file)), ("id", container.id().to_owned())];
        for (words, status) in [
            (&["state"][..], 1),
            (&["start"], 1),
            (&["kill"], 1),
            (&["delete"], 1),
            (&["pause"], 1),
            (&["ps"], 1),
            (&["exec", "--process", "/dev/null"], 255),
        ] {
            let output = container.command(words).output();
            judge(&output, status, &shown(&file), case.place());
            case.check_sentence(&output, &names);
        }
        // Dropping the container deletes it by force, and looks whether anything is left.
    });
}

/// Files of every kind, by the names that command lines have for them.
fn names(hako: &Runtime, bundle: &Bundle, running: &Container) -> Vec<(&'static str, String)> {
    let scratch = hako.scratch();
    let path = |name: &str| shown(&scratch.join(name));
    let _ = (hako.file("file", "text"), hako.fifo("fifo"), hako.dir("directory"));
    vec![
        ("id", bundle.id().into()),
        ("bundle", shown(bundle.dir())),
        ("running", running.id().into()),
        ("missing", path("missing")),
        ("fifo", path("fifo")),
        ("directory", path("directory")),
        ("device", "/dev/zero".into()),
        ("socket", path("socket")),
        ("datagram", path("datagram")),
        ("long", path(&"x".repeat(120))),
        ("file", path("file")),
    ]
}

#[test]
fn command_lines() {
    if is_peer() {
        return; // Their command lines are their own.
    }
    let hako = Runtime::new();
    let (sound, served) = (hako.bundle(), hako.bundle());
    let running = hako.serve(&served);
    let names = names(&hako, &sound, &running);
    let path =
        |name: &str| PathBuf::from(&names.iter().find(|(known, _)| *known == name).unwrap().1);
    let _stream = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    let _datagram = std::os::unix::net::UnixDatagram::bind(path("datagram")).unwrap();
    each(table!("commands"), |case| {
        let mut bundle = sound.clone();
        case.set(&mut bundle);
        bundle.save();
        let fill = |text: &str| {
            names.iter().fold(text.to_owned(), |text, (name, value)| {
                text.replace(&format!("{{{name}}}"), value)
            })
        };
        let words: Vec<String> = case.text("words").unwrap().split(' ').map(fill).collect();
        let output = hako.command(&[]).args(&words).output();
        hako.verify_gone(&sound, &output);
        let status = case.row["status"].as_i64().unwrap_or(1);
        judge(&output, i32::try_from(status).unwrap(), "", None);
        let named = fill(case.text("names").unwrap_or_default());
        assert!(
            output.stderr.lines().next().unwrap().contains(&named),
            "it names no `{named}`\n{output}"
        );
        case.check_sentence(&output, &names);
        assert_eq!(running.status(), "running", "{output}");
    });
}

/// Nobody waits for a configuration to be understood, however long its lists are.
#[test]
fn long_lists_are_gone_through_in_time() {
    if is_peer() {
        return; // None of them has `explain`.
    }
    const LONG: u32 = 30_000;
    let list = |item: fn(u32) -> Value| Value::Array((0..LONG).map(item).collect());
    let id = |id: u32| json!({ "containerID": id, "hostID": id, "size": 1 });
    let rows = [
        ("/process/args", list(|number| json!(format!("a{number}")))),
        ("/process/env", list(|number| json!(format!("A{number}=")))),
        ("/process/user/additionalGids", list(|number| json!(number))),
        ("/process/rlimits", list(|_| json!({ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }))),
        ("/process/capabilities/bounding", list(|number| json!(format!("CAP_{number}")))),
        (
            "/mounts",
            list(|number| json!({ "destination": format!("/m{number}"), "type": "tmpfs" })),
        ),
        ("/mounts/1/options", list(|number| json!(format!("o{number}=1")))),
        ("/hooks/poststop", list(|_| json!({ "path": "/bin/true" }))),
        ("/linux/namespaces", list(|_| json!({ "type": "pid" }))),
        ("/linux/uidMappings", list(id)),
        ("/linux/maskedPaths", list(|number| json!(format!("/m{number}")))),
        ("/linux/readonlyPaths", list(|number| json!(format!("relative{number}")))),
        (
            "/linux/devices",
            list(
                |number| json!({ "path": format!("/dev/{number}"), "type": "c", "major": 1, "minor": 3 }),
            ),
        ),
        (
            "/linux/resources/devices",
            list(
                |number| json!({ "allow": number % 2 == 0, "type": "c", "major": number, "minor": 1 }),
            ),
        ),
        (
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": list(|number| json!(format!("call{number}"))) }],
            }),
        ),
    ];
    let hako = Runtime::new();
    let sound = hako.bundle();
    each(rows.iter().map(|(pointer, value)| (pointer, Hidden(value))), |(pointer, value)| {
        let mut bundle = sound.clone();
        bundle.namespace("user", None).set("/linux/gidMappings", json!([id(0)]));
        bundle.set("/linux/uidMappings", json!([id(0)])).set(pointer, value.0.clone());
        bundle.save();
        // The time of the processor: others may be busy, too.
        let command = hako.command(&["explain", "--bundle"]).arg(bundle.dir());
        let output = command.before("ulimit -t 2").output();
        assert!(output.code.is_some(), "it takes too long: signal {:?}", output.signal);
        assert!(output.stderr.len() < 8192, "{} bytes of explanation", output.stderr.len());
    });
}

/// A value too long to be shown.
struct Hidden<'v>(&'v Value);

impl std::fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}
