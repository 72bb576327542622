//! Configurations and command lines that ask for what nobody should get.

use super::Harm;
use crate::ids::commands;
use hako_integration::{Bundle, Runtime, Value, cgroup_dir, json, wait_until};
use std::fs;
use std::path::Path;

/// Users that look like numbers: none of them may become root.
pub fn users_that_are_no_numbers(world: &Runtime) -> Harm {
    let container = world.serve(&world.bundle());
    let users = [
        "-1",
        "4294967295",
        "4294967296",
        "4294967297",
        "18446744073709551616",
        "1:4294967296",
        "1:-1",
        "1:",
        ":1",
        "0x1",
        "+1",
        " 1",
        "1 ",
        "1e3",
        "one",
        "1",
        "65534:65534",
        "4294967294",
    ];
    let attempt = |user: &str| {
        let output = container.exec(&["--user", user], "report").output();
        if output.code != Some(0) {
            return None;
        }
        let (uid, gid) = (&output.json()["uid"]["real"], &output.json()["gid"]["real"]);
        let wanted = user.split_once(':').unwrap_or((user, "0"));
        let is_exact = |id: &Value, text: &str| {
            text.parse() == Ok(id.as_u64().unwrap_or(u64::MAX)) && !text.starts_with('+')
        };
        let exact = is_exact(uid, wanted.0) && is_exact(gid, wanted.1);
        (!exact).then(|| format!("--user {user:?} is user {uid}, group {gid}"))
    };
    users.into_iter().filter_map(attempt).collect()
}

/// The highest id means "leave it as it is" to the kernel: root, that is.
pub fn the_user_who_changes_nothing(world: &Runtime) -> Harm {
    let attempt = |(uid, gid): (u32, u32)| {
        let mut bundle = world.bundle();
        bundle.set("/process/user", json!({ "uid": uid, "gid": gid }));
        let output = world.run(bundle.inspector("report"));
        let ran = output.code == Some(0);
        ran.then(|| {
            format!("user {uid}:{gid} is {}:{}", output.json()["uid"], output.json()["gid"])
        })
    };
    [(u32::MAX, u32::MAX), (u32::MAX, 1000), (1000, u32::MAX)]
        .into_iter()
        .filter_map(attempt)
        .collect()
}

/// Ids that lead out of the state directory, or to all of it.
pub fn ids_that_are_paths(world: &Runtime) -> Harm {
    let root = world.dir("nest/state");
    let victim = world.file("nest/victim/state.json", "precious");
    let neighbour = world.file("nest/state/neighbour/state.json", "precious");
    let bundle = world.bundle();
    bundle.save();
    let commands = commands(&bundle);
    let mut harm = Vec::new();
    for id in
        ["..", ".", "../victim", "neighbour/../../victim", "./neighbour", "x\n", "-", ".hidden"]
    {
        for (words, rest) in &commands {
            let command = world.bare().arg("--root").arg(&root).args(words).arg("--").arg(id);
            let output = command.args(rest).output();
            let intact = [&victim, &neighbour]
                .map(|file| fs::read_to_string(file).is_ok_and(|text| text == "precious"));
            if intact != [true, true] {
                harm.push(format!("{} of {id:?} destroys another's state", words.join(" ")));
                let _ = (
                    world.file("nest/victim/state.json", "precious"),
                    world.file("nest/state/neighbour/state.json", "precious"),
                );
            }
            if output.code == Some(0) {
                harm.push(format!("{} takes {id:?} for an id", words.join(" ")));
            }
        }
    }
    harm
}

/// Shell code that gives a command a cgroup of its own as the root of all there
/// are, and pids and mounts in which there is nothing else: what happens there
/// happens to nobody. `inside` starts it, as `"$0" "$@"`.
fn in_private_cgroup(private: &Path, inside: &str) -> String {
    let hierarchy = "mount -t tmpfs none /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup";
    format!(
        "mkdir -p {0} && echo 0 >{0}/cgroup.procs && exec unshare --cgroup --mount --pid --fork \
         --kill-child --mount-proc sh -c '{hierarchy} || exit; {inside}' \"$0\" \"$@\" || exit",
        private.display()
    )
}

/// The root cgroup holds every process of the machine: who takes it for the
/// container's ends them all. Tried where that is a cgroup of the test.
pub fn the_root_cgroup(world: &Runtime) -> Harm {
    let attempt = |path: &str| {
        let mut bundle = world.bundle();
        let private = cgroup_dir(bundle.cgroup());
        bundle.set("/linux/cgroupsPath", path).inspector("print ran").save();
        let inside = "sleep 30 & \"$0\" \"$@\"; kill -0 $! && echo the witness lives; kill $!";
        let outside = in_private_cgroup(&private, inside);
        let output = world.on_bundle(&["run"], &bundle).before(&outside).output();
        let lives = output.stdout.contains("the witness lives");
        wait_until("the end of the private cgroup", || fs::remove_dir(&private).is_ok());
        (!lives).then(|| format!("cgroupsPath {path:?} ends the processes of all: {output}"))
    };
    ["/", "", "//", "/.", "/../"].into_iter().filter_map(attempt).collect()
}

/// More of everything than a length of 16 bits can say: all of it arrives.
pub fn requests_of_any_size(world: &Runtime) -> Harm {
    let mut bundle = world.bundle();
    let names: Vec<String> = (0..20_000).map(|number| format!("NAME{number}=value")).collect();
    let arguments: Vec<String> = (0..12).map(|number| number.to_string().repeat(60_000)).collect();
    let groups: Vec<u32> = (1..5_000).collect();
    let args = ["/bin/inspector", "report", "--"].map(str::to_owned).into_iter().chain(arguments);
    bundle.set("/process/args", args.collect::<Vec<_>>());
    let attempt = |bundle: &mut Bundle, names: &[String], groups: &[u32]| {
        bundle.set("/process/env", names).set("/process/user/additionalGids", groups);
        let output = world.run(bundle);
        if output.code != Some(0) {
            return Some(format!("it is refused: {output}"));
        }
        let report = output.values().swap_remove(0);
        let count = |list: &str| report[list].as_array().map_or(0, Vec::len);
        let lengths = report["args"].as_array().into_iter().flatten();
        let longest = lengths.filter_map(|word| word.as_str().map(str::len)).max();
        // HOME is added, and the group of the process is one of its groups.
        let whole = count("env") == 20_001 && count("groups") >= 4_999 && longest == Some(120_000);
        (!whole).then(|| "something was cut off".to_owned())
    };
    for (names, groups) in [(&names[1..], &groups[..]), (&names[..], &groups[2..])] {
        let verdict = attempt(&mut bundle, names, groups);
        assert_eq!(verdict.as_deref(), Some("something was cut off"), "it would not be noticed");
    }
    attempt(&mut bundle, &names, &groups).into_iter().collect()
}

/// A cgroup file system that is to be read-only is that, whoever owns the
/// namespaces: else root of a user namespace could move between cgroups. Tried
/// where all there are is a cgroup of the test.
pub fn a_read_only_cgroup_mount(world: &Runtime) -> Harm {
    const CHAIN: &str = "mkdir /sys/fs/cgroup/new -- write /sys/fs/cgroup/cgroup.procs 0";
    let attempt = |bundle: &mut Bundle| {
        let private = cgroup_dir(bundle.cgroup());
        bundle.set("/linux/cgroupsPath", "/container").inspector(CHAIN);
        // Who distributes resources to cgroups below may not be in one itself.
        let inside = "mkdir /sys/fs/cgroup/caller && echo 0 >/sys/fs/cgroup/caller/cgroup.procs; \
             \"$0\" \"$@\"";
        let outside = in_private_cgroup(&private, inside);
        let output = world.on_bundle(&["run"], bundle).before(&outside).output();
        let _ = fs::remove_dir(private.join("new"));
        wait_until("the end of the private cgroup", || {
            let _ = fs::remove_dir(private.join("caller"));
            fs::remove_dir(&private).is_ok()
        });
        output.ok()
    };
    let mut harm = Vec::new();
    for (user, cgroup) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut bundle = world.bundle();
        if user {
            bundle.user_namespace(100_000);
        }
        if !cgroup {
            bundle.without_namespace("cgroup");
        }
        let output = attempt(&mut bundle);
        if output.stdout.contains("ok") {
            harm.push(format!("user namespace: {user}, cgroup namespace: {cgroup}: {output}"));
        }
    }
    // Without that option it can be written to.
    let mut control = world.bundle();
    control.set("/mounts/6/options", json!(["nosuid"]));
    assert!(attempt(&mut control).stdout.contains("ok"), "the attack is none");
    harm
}
