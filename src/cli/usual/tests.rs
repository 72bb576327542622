use super::*;
use clap::{CommandFactory, Parser};
use proptest::prelude::*;

fn words<'a>(line: impl IntoIterator<Item = &'a str>) -> Vec<OsString> {
    ["hako"].into_iter().chain(line).map(OsString::from).collect()
}

fn understood(line: &[OsString]) -> Option<String> {
    parse(line).map(|cli| format!("{cli:?}"))
}

fn by_clap(line: &[OsString]) -> Option<String> {
    Cli::try_parse_from(line).ok().map(|cli| format!("{cli:?}"))
}

#[test]
fn what_engines_and_people_say_is_usual() {
    for line in [
        "--root /r --log /l --log-format json create --bundle /b --pid-file /b/pid x",
        "--root /r --systemd-cgroup --log-format=json create -b /b --console-socket /c x",
        "--cgroup-manager=disabled create --pidfd-socket /s --preserve-fds 2 x --no-pivot",
        "--root /r start x",
        "state x --root /a --root=/b",
        "--root /r kill --all x 9",
        "kill x",
        "kill -r .* KILL --debug",
        "--root /r delete --force x",
        "delete x",
        "run x",
        "run -d --keep --no-subreaper --no-new-keyring -f other.json x",
        "--rootless run --bundle /b x",
        "--rootless=true --log-level error run x",
        "--root /r exec --process /p --detach --pid-file /pid --tty x",
        "exec -t -e A=B -e C= --cwd / --user 1:2 -g 3,4 --cap CAP_KILL x sh -c ls --root",
        "exec --no-new-privs --apparmor a --process-label l --cgroup c --ignore-paused x sh",
        "pause x",
        "resume x",
    ] {
        let line = words(line.split(' '));
        assert!(understood(&line).is_some(), "{line:?}");
        assert_eq!(understood(&line), by_clap(&line), "{line:?}");
    }
}

#[test]
fn the_rest_is_left_to_clap() {
    for line in [
        "",
        "list",
        "--version",
        "help run",
        "run --help",
        "run",
        "run x y",
        "run -",
        "run -- x",
        "--root",
        "--root run",
        "--root --debug run x",
        "create --bundle= x",
        "state --force x",
        "--force delete x",
        "delete --force=yes x",
        "exec x",
        "exec -p f x sh",
        "exec -u root x sh",
        "exec x sh -- y",
        "run -dx",
        "run --overlay x",
        "kill x -9",
        "kill x KILL y",
    ] {
        assert_eq!(understood(&words(line.split(' '))), None, "{line}");
    }
}

/// All options that clap knows, with values good and bad.
fn vocabulary() -> Vec<String> {
    let mut all = Cli::command();
    all.build();
    let plain = [
        "x", "y", "create", "run", "exec", "kill", "text", "json", "true", "1", "-1", "1:2", "3,4",
        "A=B", "/d", "-", "--", "", "-x", "SIGKILL", "é", "error", "systemd",
    ];
    let mut vocabulary: Vec<String> = plain.map(str::to_owned).into();
    for command in all.get_subcommands().chain([&all]) {
        for argument in command.get_arguments() {
            if let Some(long) = argument.get_long() {
                vocabulary.push(format!("--{long}"));
                for value in ["x", "1", "json", "true", ""] {
                    vocabulary.push(format!("--{long}={value}"));
                }
            }
            vocabulary.extend(argument.get_short().map(|short| format!("-{short}")));
        }
    }
    vocabulary.sort();
    vocabulary.dedup();
    vocabulary
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn what_is_understood_means_the_same_to_clap(
        before in proptest::collection::vec(proptest::sample::select(vocabulary()), 0..3),
        command in proptest::sample::select(
            &["create", "start", "state", "kill", "delete", "run", "exec", "pause", "resume"][..]
        ),
        after in proptest::collection::vec(proptest::sample::select(vocabulary()), 0..6),
    ) {
        let line = before.iter().map(String::as_str).chain([command]);
        let line = words(line.chain(after.iter().map(String::as_str)));
        if let Some(understood) = understood(&line) {
            prop_assert_eq!(Some(understood), by_clap(&line));
        }
    }
}

/// The generated lines are rarely right as a whole: here each option is given to each command.
#[test]
fn every_option_means_the_same_to_clap() {
    let values = ["x", "1", "1:2", "json", "error", "systemd", "true", "--debug", "-1", "-", ""];
    for command in ["create", "start", "state", "kill", "delete", "run", "exec", "pause", "resume"]
    {
        for word in vocabulary().iter().filter(|word| word.starts_with('-')) {
            for value in values {
                for line in [
                    vec![word, command, "x"],
                    vec![word, value, command, "x"],
                    vec![command, word, "x"],
                    vec![command, word, value, "x"],
                    vec![command, "x", word, value],
                    vec![command, word, value, "x", "sh"],
                ] {
                    let line = words(line);
                    if let Some(understood) = understood(&line) {
                        assert_eq!(Some(understood), by_clap(&line), "{line:?}");
                    }
                }
            }
        }
    }
}
