//! The process: directory, arguments, environment, ids, terminal, descriptors.

use super::terminal::{ConsoleSocket, read_all};
use crate::case::{
    Case,
    Level::{Engine, Must, Should},
    ensure, expect,
};
use serde_json::{Value, json};

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "process.cwd",
        level: Must,
        refs: &["config.md:248"],
        run: |cx| {
            cx.bundle.mkdir("/some/where")?;
            cx.bundle.set("/process/cwd", "/some/where");
            expect("working directory", &cx.inspect()?["cwd"], "/some/where")
        },
    },
    Case {
        id: "process.cwd-missing",
        level: Must,
        refs: &["config.md:248"],
        run: |cx| {
            cx.bundle.remove("/process/cwd");
            cx.refused()
        },
    },
    Case {
        id: "process.cwd-relative",
        level: Must,
        refs: &["config.md:249"],
        run: |cx| {
            cx.bundle.set("/process/cwd", "tmp");
            cx.refused()
        },
    },
    Case {
        id: "process.args",
        level: Must,
        refs: &["config.md:252"],
        run: |cx| {
            // Words of every kind; the first is looked up in PATH.
            let args = ["inspector", "print", "a b", "", "*", "$HOME"];
            cx.bundle.set("/process/args", json!(args));
            expect("standard output", cx.run()?.stdout, "a b  * $HOME\n")
        },
    },
    Case {
        id: "process.args-empty",
        level: Must,
        refs: &["config.md:252"],
        run: |cx| {
            cx.bundle.set("/process/args", json!([]));
            cx.refused()
        },
    },
    Case {
        id: "process.args-missing-program",
        level: Must,
        refs: &["runtime.md:59"],
        run: |cx| {
            cx.bundle.set("/process/args", json!(["/no/such/program"]));
            cx.refused()
        },
    },
    Case {
        id: "process.env",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/process/env", json!(["PATH=/bin", "A=b=c", "EMPTY="]));
            let seen = cx.inspect()?;
            for variable in ["PATH=/bin", "A=b=c", "EMPTY="] {
                let there = crate::case::contains(&seen["env"], variable);
                ensure(there, format!("{variable} in the environment"), &seen["env"])?;
            }
            Ok(())
        },
    },
    Case {
        id: "process.home",
        level: Engine,
        refs: &[],
        run: |cx| {
            // Images of engines count on it: `~` and many programs need it.
            let home = |env: &Value| {
                let mut env = env.as_array().into_iter().flatten().filter_map(Value::as_str);
                env.find_map(|entry| entry.strip_prefix("HOME=").map(String::from))
            };
            expect("HOME of root without /etc/passwd", home(&cx.inspect()?["env"]), "/")?;
            cx.bundle.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")?;
            expect("HOME as in /etc/passwd", home(&cx.inspect()?["env"]), "/root")?;
            cx.bundle.set("/process/env", json!(["HOME=/other"]));
            expect("HOME as configured", home(&cx.inspect()?["env"]), "/other")
        },
    },
    Case {
        id: "process.user",
        level: Must,
        refs: &["config.md:370", "config.md:371"],
        run: |cx| {
            cx.bundle.set("/process/user", json!({ "uid": 1234, "gid": 4321 }));
            let seen = cx.inspect()?;
            let ids = |id| json!({ "real": id, "effective": id, "saved": id });
            expect("user ids", &seen["uid"], ids(1234))?;
            expect("group ids", &seen["gid"], ids(4321))
        },
    },
    Case {
        id: "process.additional-gids",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/process/user/additionalGids", json!([5, 77]));
            let seen = cx.inspect()?;
            let groups: Vec<_> =
                seen["groups"].as_array().into_iter().flatten().filter(|gid| **gid != 0).collect();
            expect("supplementary groups", groups, [5, 77])
        },
    },
    Case {
        id: "process.umask",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/process/user/umask", 0o027);
            expect("umask", &cx.inspect()?["umask"], 0o027)
        },
    },
    Case {
        id: "process.no-new-privileges",
        level: Engine,
        refs: &[],
        run: |cx| {
            expect("when true", &cx.inspect()?["attributes"]["no_new_privs"], true)?;
            cx.bundle.set("/process/noNewPrivileges", false);
            expect("when false", &cx.inspect()?["attributes"]["no_new_privs"], false)
        },
    },
    Case {
        id: "process.hostname",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/hostname", "mrsdalloway");
            expect("hostname", &cx.inspect()?["names"]["hostname"], "mrsdalloway")
        },
    },
    Case {
        id: "process.domainname",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/domainname", "foobarbaz.test");
            expect("domainname", &cx.inspect()?["names"]["domainname"], "foobarbaz.test")
        },
    },
    Case {
        id: "process.console-size-without-terminal",
        level: Must,
        refs: &["config.md:245"],
        run: |cx| {
            cx.bundle.set("/process/consoleSize", json!({ "height": 25, "width": 80 }));
            let seen = cx.inspect()?;
            expect("a terminal on standard output", &seen["streams"][1]["tty"], false)?;
            cx.bundle.set("/process/terminal", false);
            cx.run().map(drop)
        },
    },
    Case {
        id: "process.console-size",
        level: Must,
        refs: &["config.md:246", "config.md:247"],
        run: |cx| {
            cx.bundle.set("/process/terminal", true);
            cx.bundle.set("/process/consoleSize", json!({ "height": 21, "width": 73 }));
            let seen = super::terminal::inspect(cx)?;
            expect("window", &seen["streams"][0]["window"], json!({ "rows": 21, "columns": 73 }))
        },
    },
    Case {
        id: "process.terminal",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/process/terminal", true);
            let seen = super::terminal::inspect(cx)?;
            for stream in 0..3 {
                expect(
                    &format!("descriptor {stream} a tty"),
                    &seen["streams"][stream]["tty"],
                    true,
                )?;
            }
            expect("a controlling terminal", &seen["controlling_terminal"]["session"], true)
        },
    },
    Case {
        id: "process.terminal-relays",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/process/terminal", true).inspector("print hello");
            let socket = ConsoleSocket::bind(cx)?;
            let command = cx.create_command()?.arg("--console-socket").arg(socket.path());
            let mut container = cx.expect_made(command)?;
            let terminal = socket.receive()?;
            container.start()?;
            container.wait()?;
            // `docker run -t` shows it as it comes: a new line has to begin at the left.
            expect("what arrives at the terminal", read_all(&terminal), "hello\r\n")?;
            container.delete()
        },
    },
    Case {
        id: "process.only-standard-descriptors",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.inspector("report");
            let command = cx.create_command()?.before("exec 3</dev/null 9</dev/null");
            let seen = cx.expect_made(command)?.finish()?.values()?;
            let fds = seen[0]["descriptors"].as_array();
            let fds: Vec<_> = fds.into_iter().flatten().map(|fd| &fd["fd"]).collect();
            expect("open descriptors", fds, [0, 1, 2])
        },
    },
    Case {
        id: "process.preserve-fds",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.inspector("report");
            let command = cx.create_command()?.before("exec 3</dev/null 4</dev/zero 9</dev/null");
            let container = cx.expect_made(command.args(&["--preserve-fds", "2"]))?;
            let seen = container.finish()?.values()?;
            let fds = seen[0]["descriptors"].as_array();
            let fds: Vec<_> = fds.into_iter().flatten().map(|fd| &fd["fd"]).collect();
            expect("open descriptors", fds, [0, 1, 2, 3, 4])
        },
    },
    Case {
        id: "process.dev-links",
        level: Must,
        refs: &["runtime-linux.md:11"],
        run: |cx| {
            let seen =
                cx.ask("stat /dev/fd -- stat /dev/stdin -- stat /dev/stdout -- stat /dev/stderr")?;
            let targets: Vec<_> = seen.iter().map(|stat| &stat["target"]).collect();
            let wanted = ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"];
            expect("targets of the links", targets, wanted)
        },
    },
    Case {
        id: "process.default-file-systems",
        level: Should,
        refs: &["config-linux.md:11"],
        run: |cx| {
            let seen = cx.inspect()?;
            let kinds = [
                ("/proc", "proc"),
                ("/sys", "sysfs"),
                ("/dev/pts", "devpts"),
                ("/dev/shm", "tmpfs"),
            ];
            for (target, kind) in kinds {
                expect(target, &super::mount_at(&seen, target)?["type"], kind)?;
            }
            Ok(())
        },
    },
];
