//! Container ids: they become names of directories, so most texts are none.

use hako_integration::{Bundle, Runtime, each, is_peer};
use std::fs;

/// Every command that takes an id, up to where that stands; what comes after it.
pub fn commands(bundle: &Bundle) -> Vec<(Vec<&str>, Option<&'static str>)> {
    let directory = bundle.dir().to_str().expect("a path of letters");
    let on_bundle = |word| (vec![word, "--bundle", directory], None);
    let others: [&[&str]; 11] = [
        &["start"],
        &["state"],
        &["kill"],
        &["pause"],
        &["resume"],
        &["ps"],
        &["update", "--pids-limit", "1"],
        &["events", "--stats"],
        &["checkpoint"],
        &["delete"],
        &["delete", "--force"],
    ];
    let others = others.iter().map(|words| (words.to_vec(), None));
    let exec = (vec!["exec"], Some("/bin/inspector"));
    ["create", "run", "restore", "explain"]
        .map(on_bundle)
        .into_iter()
        .chain(others)
        .chain([exec])
        .collect()
}

#[test]
fn invalid_ids_are_refused_by_every_command() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    bundle.save();
    // If an id were taken for a path, it would lead here, or to the state itself.
    let victim = hako.file("victim/state.json", "precious");
    fs::create_dir_all(hako.root().join("inner")).unwrap();
    let long = "x".repeat(300);
    let ids = [
        "../victim",
        "a/b",
        "inner/../../victim",
        "/",
        "/tmp",
        "",
        " ",
        "a b",
        ".",
        "..",
        "...",
        "-x",
        "--",
        "x\n",
        "\nx",
        "x\ty",
        ".hidden",
        "-",
        "+x",
        "_x",
        "ü",
        "x\u{7f}",
        "a\\b",
        "a:b",
        "a*",
        "$HOME",
        &long,
    ];
    let commands = commands(&bundle);
    // Peers have taken these for what is to be removed: the host's files.
    let ids = ids.into_iter().filter(|id| !is_peer() || !id.starts_with('/'));
    each(ids, |id| {
        for (words, rest) in &commands {
            // With `--` even an id that looks like an option is an id.
            for separated in [false, true] {
                let mut command = hako.command(words);
                if separated {
                    command = command.arg("--");
                }
                let output = command.arg(id).args(rest).output();
                let is_option = id.starts_with('-') && !separated;
                if words[0] == "explain" && *id == "--" && !separated {
                    continue; // It needs no id.
                }
                let says = if is_option { "" } else { "invalid container id" };
                // What `exec` fails with cannot be its program's.
                let by_exec = words[0] == "exec" && output.code == Some(255);
                assert!(is_peer() || by_exec || output.code == Some(1), "{output}");
                assert!(is_peer() || output.stderr.contains(says), "{output}");
                assert_ne!(output.code, Some(0), "{output}");
                assert_eq!(output.stdout, "", "{output}");
            }
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        let left: Vec<_> = fs::read_dir(hako.root()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "only `inner` was there: {left:?}");
    });
}

#[test]
fn valid_ids_are_accepted_as_they_are() {
    let hako = Runtime::new();
    let longest = "x".repeat(255);
    each(["a", "0", "A.b_c+d-e", "x.", "1.2.3", "UPPER", &longest], |id| {
        let mut bundle = hako.bundle();
        bundle.inspector("sleep 0").save();
        let words = ["create", "--bundle", bundle.dir().to_str().unwrap(), id];
        let _ = hako.command(&words).output().ok();
        assert_eq!(hako.command(&["state", id]).output().ok().json()["id"], *id);
        let _ = hako.command(&["start", id]).output().ok();
        let _ = hako.command(&["delete", "--force", id]).output().ok();
        hako.command(&["state", id]).output().fails("does not exist");
    });
}

#[test]
fn delete_by_force_of_an_unknown_id_succeeds() {
    let hako = Runtime::new();
    hako.command(&["delete", "never-was"]).output().fails("does not exist");
    let _ = hako.command(&["delete", "--force", "never-was"]).output().ok();
    fs::create_dir_all(hako.root()).unwrap();
    let _ = hako.command(&["delete", "--force", "never-was"]).output().ok();
    assert_eq!(fs::read_dir(hako.root()).unwrap().count(), 0);
}
