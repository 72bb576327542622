//! Callers who have what no container may inherit.

use super::Harm;
use hako_integration::{Bundle, Runtime, Value, json};

/// What a program of the container sees with `run`, and with each of these ways
/// of `exec`, when such a caller starts it.
fn reports(
    world: &Runtime,
    bundle: &Bundle,
    caller: &str,
    ways: &[&[&str]],
) -> Vec<(String, Value)> {
    let mut bundle = bundle.clone();
    bundle.inspector("report");
    let run = world.finish(world.on_bundle(&["run"], &bundle).before(caller), &bundle);
    let container = world.serve(&bundle);
    let exec = |way: &&[&str]| {
        (format!("exec {}", way.join(" ")), container.exec(way, "report").before(caller).output())
    };
    let outputs = std::iter::once(("run".to_owned(), run)).chain(ways.iter().map(exec));
    // What was refused did no harm.
    let done = outputs.filter(|(_, output)| output.code == Some(0));
    done.map(|(way, output)| (way, output.json())).collect()
}

/// A caller with inheritable and ambient capabilities: a program that gains
/// privileges by its file would gain more than it should.
pub fn capabilities_of_the_caller(world: &Runtime) -> Harm {
    let caller =
        "exec setpriv --inh-caps +chown,+kill --ambient-caps +chown,+kill -- \"$0\" \"$@\"";
    let mut without = world.bundle();
    without.remove("/process/capabilities");
    let mut harm = Vec::new();
    for bundle in [world.bundle(), without] {
        for (way, report) in reports(world, &bundle, caller, &[&[], &["--cap", "CAP_KILL"]]) {
            for set in ["inheritable", "ambient"] {
                let found = &report["capabilities"][set];
                if *found != "0000000000000000" {
                    harm.push(format!("{way}: {set} capabilities {found}"));
                }
            }
        }
    }
    harm
}

/// A caller that ignores signals.
pub fn signals_of_the_caller(world: &Runtime) -> Harm {
    let caller = "trap '' HUP USR1 PIPE QUIT 34";
    let reports = reports(world, &world.bundle(), caller, &[&[]]);
    let ignored = reports.iter().filter(|(_, report)| report["signals"]["ignored"] != json!([]));
    ignored.map(|(way, report)| format!("{way} ignores {}", report["signals"]["ignored"])).collect()
}

/// A caller with an open file mode mask, a supplementary group, and a keyring.
pub fn the_mask_keys_and_groups_of_the_caller(world: &Runtime) -> Harm {
    let caller = "umask 0; exec setpriv --groups 4242 -- \"$0\" \"$@\"";
    let bundle = world.bundle();
    let shared = world.on_bundle(&["run", "--no-new-keyring"], &bundle);
    let keyring = world.finish(shared, &bundle).ok().json()["keyring"]["id"].clone();
    let mut harm = Vec::new();
    for (way, report) in reports(world, &bundle, caller, &[&[]]) {
        if report["umask"] != 0o022 {
            harm.push(format!("{way}: umask {}", report["umask"]));
        }
        if report["groups"].to_string().contains("4242") {
            harm.push(format!("{way}: groups {}", report["groups"]));
        }
        if report["keyring"]["id"] == keyring {
            harm.push(format!("{way}: the keyring of the caller"));
        }
    }
    harm
}

/// What restricts the container's first program restricts any other.
pub fn privileges_that_exec_regains(world: &Runtime) -> Harm {
    let mut bundle = world.bundle();
    let rule = json!({ "names": ["personality"], "action": "SCMP_ACT_ERRNO" });
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    bundle.set("/process/noNewPrivileges", true).set("/linux/seccomp", profile);
    let mut harm = Vec::new();
    for (way, report) in reports(world, &bundle, ":", &[&[]]) {
        let attributes = &report["attributes"];
        if attributes["no_new_privs"] != true {
            harm.push(format!("{way} may gain privileges"));
        }
        if attributes["seccomp_mode"] != 2 {
            harm.push(format!("{way} has no filter"));
        }
    }
    harm
}
