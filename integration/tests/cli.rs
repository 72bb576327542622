//! The command line: where options may stand, what they do, which ids are valid.

use hako_integration::{ConsoleSocket, Exit, Runtime, each, in_set, is_peer, json};
use std::fs;
use std::path::Path;

#[test]
fn options_may_stand_before_and_after_the_id() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    bundle.save();
    let root = hako.root().to_str().unwrap();
    let dir = bundle.dir().to_str().unwrap();
    let id = bundle.id();
    let (root_with, bundle_with) = (format!("--root={root}"), format!("--bundle={dir}"));
    let rows: [&[&str]; 7] = [
        &["--root", root, "run", "--bundle", dir, id],
        &["--root", root, "run", id, "--bundle", dir],
        &["run", "--bundle", dir, id, "--root", root],
        &["run", id, "-b", dir, "--root", root],
        &["run", "--root", root, id, "--bundle", dir],
        &[&root_with, "run", &bundle_with, id],
        &["--root", root, "--debug", "run", "--no-pivot", id, "--no-new-keyring", "-b", dir],
    ];
    each(rows, |words| {
        let output = hako.bare().args(*words).output().ok();
        assert_eq!(output.json()["pid"], 1, "nothing but the container writes to stdout");
    });
}

#[test]
fn flags_may_stand_after_the_id() {
    let hako = Runtime::new();
    each(["--force", "-f"], |flag| {
        let container = hako.serve(&hako.bundle());
        let _ = hako.command(&["delete", container.id(), flag]).output().ok();
        container.command(&["state"]).output().fails("does not exist");
    });
}

#[test]
fn debug_output_stays_off_stdout() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let container = hako.make(hako.on_bundle(&["--debug", "create"], &bundle), &bundle);
    each(["state", "start", "delete"], |verb| {
        let mut words = vec!["--debug", verb, container.id()];
        if *verb == "delete" {
            words.push("--force");
        }
        let output = hako.command(&words).output().ok();
        assert_eq!(output.stdout.is_empty(), *verb != "state", "{output}");
        if *verb == "state" {
            assert_eq!(output.json()["status"], "created");
        }
    });
}

#[test]
fn wrong_usage_is_an_error_with_code_1() {
    let hako = Runtime::new();
    let rows: [&[&str]; 10] = [
        &["no-such-command"],
        &["--no-such-option", "list"],
        &["run"],
        &["run", "--no-such-option", "id"],
        &["state"],
        &["state", "one", "two"],
        &["start"],
        &["kill"],
        &["delete"],
        &["--log-format", "xml", "list"],
    ];
    each(rows, |words| {
        let output = hako.command(words).output();
        output.fails("");
        assert_eq!(output.stdout, "");
        assert!(!output.stderr.is_empty(), "it says nothing");
    });
}

#[test]
fn help_is_there_for_every_command() {
    let hako = Runtime::new();
    each(["", "create", "start", "state", "kill", "delete", "run", "list", "spec"], |verb| {
        for flag in ["--help", "-h"] {
            let words: Vec<&str> =
                [*verb, flag].into_iter().filter(|word| !word.is_empty()).collect();
            let output = hako.bare().args(words).output().ok();
            assert!(output.stdout.to_lowercase().contains("usage"), "{output}");
        }
    });
}

#[test]
fn a_bundle_can_be_named_without_an_option() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/annotations", json!({})).inspector("print ran -- report");
    bundle.save();
    let name = bundle.dir().file_name().unwrap().to_str().unwrap();
    let absolute = bundle.dir().to_str().unwrap();
    let slash = format!("{absolute}/");
    let dotted = format!("./{name}");
    for (words, cwd) in [
        (".", bundle.dir()),
        (absolute, Path::new("/")),
        (&slash, Path::new("/")),
        (&dotted, hako.scratch()),
        (name, hako.scratch()),
    ] {
        let output = hako.command(&["run", words]).current_dir(cwd).output().ok();
        assert!(output.stdout.starts_with("ran\n"), "{output}");
        hako.verify_gone(&bundle, &output);
    }
}

#[test]
fn a_bundle_whose_name_is_no_id_needs_one() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    let bundle = hako.bundle();
    bundle.save();
    let place = hako.scratch().join("my bundle");
    fs::create_dir(&place).unwrap();
    fs::copy(bundle.dir().join("config.json"), place.join("config.json")).unwrap();
    let output = hako.command(&["run", "."]).current_dir(&place).output();
    output.fails("the name of the bundle's directory is no container id: \"my bundle\"");
    assert!(output.stderr.contains("hint: name one: hako run --bundle . ID"), "{output}");
}

/// A plain word is an id as soon as the current directory is a bundle itself.
/// No peer has `explain`.
#[test]
fn explain_takes_the_same_names_of_bundles_as_run() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    let bundle = hako.bundle();
    bundle.save();
    let (parent, name) = (bundle.dir().parent().unwrap(), bundle.dir().file_name().unwrap());
    let name = name.to_str().unwrap();
    for argument in [format!("./{name}"), name.to_owned(), bundle.dir().display().to_string()] {
        let output = hako.command(&["explain", &argument]).current_dir(parent).output().ok();
        assert!(output.stdout.starts_with(&format!("container {name}\n")), "{output}");
    }
}

#[test]
fn a_word_is_an_id_where_there_is_a_bundle() {
    let hako = Runtime::new();
    let (mut here, mut other) = (hako.bundle(), hako.bundle());
    here.inspector("print here").save();
    other.inspector("print other").save();
    std::os::unix::fs::symlink(other.dir(), here.dir().join("other")).unwrap();
    let run =
        |word: &str| hako.command(&["run", word]).current_dir(here.dir()).output().ok().stdout;
    assert_eq!(run("other"), "here\n");
    assert_eq!(run("./other"), "other\n");
}

#[test]
fn the_pid_file_is_relative_to_the_caller() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let cwd = hako.dir("elsewhere");
    let command = hako.on_bundle(&["create", "--pid-file", "the.pid"], &bundle);
    let _ = command.current_dir(&cwd).output().ok();
    let pid = fs::read_to_string(cwd.join("the.pid")).expect("in the directory of the caller");
    let state = hako.command(&["state", bundle.id()]).output().ok().json();
    assert_eq!(pid, state["pid"].to_string());
    assert!(!bundle.dir().join("the.pid").exists());
    let _ = hako.command(&["delete", bundle.id()]).output().ok();
}

#[test]
fn a_pid_file_that_cannot_be_written_fails_create() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let command = hako.on_bundle(&["create", "--pid-file", "/no/such/dir/pid"], &bundle);
    let output = command.output();
    output.fails("/no/such/dir/pid");
    hako.verify_gone(&bundle, &output);
}

/// As crun has it; runc knows no such option.
#[test]
fn the_configuration_may_be_another_file() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.inspector("print from-the-other-file").save();
    let other = hako.dir("elsewhere").join("other.json");
    fs::rename(bundle.dir().join("config.json"), &other).unwrap();
    each([other.to_str().unwrap(), "other.json"], |file| {
        let command = hako.command(&["run", "--config", file, "--bundle"]).arg(bundle.dir());
        let output = command.last(bundle.id()).current_dir(other.parent().unwrap()).output().ok();
        assert_eq!(output.stdout, "from-the-other-file\n");
    });
    // What is wrong with it is in that file.
    let (directory, id) = (bundle.dir().to_path_buf(), bundle.id().to_owned());
    let with = |verb: &str, text: &str| {
        fs::write(&other, text).unwrap();
        let command = hako.command(&[verb, "--config", "other.json", "--bundle"]);
        let command = command.arg(&directory).last(&id);
        command.current_dir(other.parent().unwrap()).output()
    };
    let run = |text: &str| with("run", text);
    if !is_peer() {
        run("{").fails("other.json is not valid JSON");
        run("").fails("other.json is empty");
        bundle.set("/root/path", "missing");
        let missing = run(&bundle.config.to_string());
        missing.fails("\n  other.json: /root/path");
        bundle.set("/root/path", 7).set("/linus", 1);
        let wrong = run(&bundle.config.to_string());
        wrong.fails("\n  other.json: /root/path");
        with("restore", &bundle.config.to_string()).fails("\n  other.json: /root/path");
        assert!(!wrong.stderr.contains("config.json"), "{wrong}");
        bundle.set("/root/path", "rootfs");
        let warned = run(&bundle.config.to_string());
        assert!(warned.stderr.contains("other.json: /linus is unknown"), "{warned}");
    }
}

#[test]
fn run_in_the_background_returns_at_once() {
    let hako = Runtime::new();
    each(["--detach", "-d"], |flag| {
        let mut bundle = hako.bundle();
        let command = hako.on_bundle(&["run", flag], bundle.inspector("trap"));
        let container = hako.make(command, &bundle);
        container.wait_for("\"trapping\"");
        assert_eq!(container.status(), "running");
        container.kill("TERM");
        assert_eq!(container.wait(), Exit::Code(42));
        assert_eq!(container.status(), "stopped");
    });
}

#[test]
fn run_can_keep_the_container_afterwards() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let output = hako.on_bundle(&["run", "--keep"], bundle.inspector("exit 7")).output();
    assert_eq!(output.code, Some(7), "{output}");
    let state = hako.command(&["state", bundle.id()]).output().ok().json();
    assert_eq!(state["status"], "stopped");
    let _ = hako.command(&["delete", bundle.id()]).output().ok();
    hako.verify_gone(&bundle, &output);
}

#[test]
fn the_root_can_be_changed_without_pivoting() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.write("/mark", "mine");
    let command =
        hako.on_bundle(&["run", "--no-pivot"], bundle.inspector("read /mark -- ls /.. -- report"));
    let seen = hako.finish(command, &bundle).ok().values();
    assert_eq!(seen[0], "mine");
    assert!(!in_set(&seen[1], "boot"), "the root of the host is there: {}", seen[1]);
    assert_eq!(seen[2]["cwd"], "/");
}

/// The version of crun here does not have it.
#[test]
fn a_pidfd_can_be_sent_to_a_socket() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let socket = ConsoleSocket::bind(&hako.scratch().join("pidfd.sock"));
    let command = hako.on_bundle(&["create"], &bundle).arg("--pidfd-socket").arg(socket.path());
    let container = hako.make(command, &bundle);
    let received = socket.receive();
    assert_eq!(received.len(), 1);
    let number = std::os::fd::AsRawFd::as_raw_fd(&received[0]);
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
    assert!(info.contains(&format!("Pid:\t{}\n", container.pid())), "{info}");
}

/// The first process waits for `start` with nothing of the caller in its hands.
#[test]
fn a_created_container_holds_no_descriptor_of_the_caller() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let secret = hako.file("secret", "of the host");
    let opening = format!("exec 3<{0} 7<{0} 9</", secret.display());
    let container = hako.make(hako.on_bundle(&["create"], &bundle).before(&opening), &bundle);
    let open = fs::read_dir(format!("/proc/{}/fd", container.pid())).unwrap().flatten();
    let links: Vec<_> = open.map(|fd| fs::read_link(fd.path()).unwrap()).collect();
    let allowed = |link: &Path| {
        let text = link.to_string_lossy();
        let anonymous = ["socket:", "pipe:", "anon_inode:", "/dev/null"];
        anonymous.iter().any(|kind| text.starts_with(kind)) || text.contains("/io/")
    };
    let foreign: Vec<_> = links.iter().filter(|link| !allowed(link)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

/// Nor its environment, which may hold passwords.
#[test]
fn a_created_container_does_not_show_the_environment_of_the_caller() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let command = hako.on_bundle(&["create"], &bundle).env("SECRET_TOKEN", "hunter2");
    let container = hako.make(command, &bundle);
    let environment = fs::read(format!("/proc/{}/environ", container.pid())).unwrap();
    let text = String::from_utf8_lossy(&environment);
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_missing_bundle_is_told_as_one() {
    let hako = Runtime::new();
    let output = hako.command(&["run", "/no/such/bundle"]).output();
    output.fails("cannot open bundle /no/such/bundle: no such file or directory");
}

#[test]
fn what_needs_no_container_needs_no_state_directory() {
    let hako = Runtime::new();
    // An ordinary user without a directory for the files of the session.
    let user = "unset XDG_RUNTIME_DIR; exec setpriv --reuid 65534 --clear-groups \"$0\" \"$@\"";
    let features = hako.bare().arg("features").before(user).output().ok().json();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    let output = hako.bare().args(["list"]).before(user).output();
    output.fails("there is no directory for the state of containers");
}
