//! Attacks: each builds what an attacker would (a root file system, a bundle,
//! a request, a caller), tries it, and says what harm was done to the host. hako
//! must come out unharmed. And because an attack that cannot succeed proves
//! nothing, each is seen to succeed as well: with a packaged peer that has the
//! hole, or with a debug build of hako that leaves the defence out.
//! `docs/security.md` says which advisory each of them is about.

mod callers;
mod descriptors;
mod documented;
mod files;
mod links;
mod processes;
mod races;
mod requests;
mod sentinel;

use hako_integration::{Runtime, each};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What an attack did to the host, in words; nothing when it failed.
pub type Harm = Vec<String>;

/// Something the attack is seen to succeed on.
#[derive(Debug)]
enum Victim {
    /// Debian 12's runc.
    Runc,
    /// Debian 12's crun.
    Crun,
    /// A debug build of hako without these defences.
    Without(&'static str),
}
use Victim::{Crun, Runc, Without};

/// The versions whose holes are known. A newer peer may have closed them.
const RUNC: &str = "runc version 1.1.5+";
const CRUN: &str = "crun version 1.8.1";

/// How long an attack that fails on a victim is tried again.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct Attack {
    name: &'static str,
    attempt: fn(&Runtime) -> Harm,
    victims: &'static [Victim],
}

/// For each attack: a test that hako withstands it, and a row of the table of
/// its victims.
macro_rules! attacks {
    ($($theme:ident::$name:ident: [$($victim:expr),*],)+) => {
        $(#[test]
        fn $name() {
            let harm = $theme::$name(&Runtime::new());
            assert_eq!(harm, [""; 0], "the attack succeeded");
        })+

        const ATTACKS: &[Attack] = &[$(Attack {
            name: stringify!($name),
            attempt: $theme::$name,
            victims: &[$($victim),*],
        }),+];
    };
}

attacks! {
    links::destinations_behind_links: [Without("Rooted")],
    links::a_link_for_dev: [Crun, Runc, Without("Rooted")],
    links::a_link_for_the_console: [Crun],
    links::a_link_for_null: [Runc],
    links::links_for_masked_paths: [Without("Rooted")],
    links::a_link_for_proc: [Without("Procfs")],
    links::volumes_over_proc: [Crun, Without("Procfs")],
    links::submounts_of_read_only_paths: [Crun, Runc],
    links::a_link_for_the_root: [Crun],
    files::a_passwd_that_is_no_file: [Crun, Runc],
    files::a_ptmx_of_the_image: [Crun, Runc],
    files::fifos_at_every_place: [Crun, Runc],
    processes::the_runtime_is_written_to: [Without("Seal")],
    processes::the_runtime_as_the_program: [Without("Seal")],
    processes::the_runtime_is_looked_into: [Without("Undumpable")],
    processes::a_waiting_container_is_looked_into: [Crun, Without("Environment"), Without("Descriptors")],
    processes::a_false_proc_for_exec: [Without("OuterProc")],
    processes::calls_of_another_interface: [Without("Interfaces")],
    descriptors::a_directory_behind_a_descriptor: [Without("Rooted,Cwd,Descriptors")],
    descriptors::a_directory_behind_a_descriptor_for_exec: [Without("Cwd,Descriptors")],
    descriptors::descriptors_of_the_caller: [Without("Descriptors")],
    callers::capabilities_of_the_caller: [Without("Capabilities")],
    callers::signals_of_the_caller: [Runc],
    callers::the_mask_keys_and_groups_of_the_caller: [Crun, Runc],
    callers::privileges_that_exec_regains: [Crun],
    requests::users_that_are_no_numbers: [Crun, Runc],
    requests::the_user_who_changes_nothing: [Crun],
    requests::ids_that_are_paths: [Crun],
    requests::the_root_cgroup: [Crun],
    requests::requests_of_any_size: [],
    requests::a_read_only_cgroup_mount: [Without("BoundOptions")],
    races::exchanged_destinations: [Without("Rooted")],
    races::an_exchange_in_a_volume: [Without("Rooted")],
    races::an_exchanged_dev: [Without("Rooted")],
    races::an_exchanged_proc: [Without("Rooted,Procfs")],
    races::an_exchanged_working_directory: [Without("Rooted")],
    races::an_exchange_during_exec: [Crun, Runc, Without("Cwd,Descriptors")],
}

/// An attack that no victim falls for shows nothing.
#[test]
fn every_attack_succeeds_where_the_hole_is() {
    let version = |peer| Runtime::peer(peer).bare().arg("--version").output().stdout;
    let (runc, crun) = (version("runc"), version("crun"));
    let known = |victim: &&Victim| match victim {
        Runc => runc.starts_with(RUNC),
        Crun => crun.starts_with(CRUN),
        Without(_) => true,
    };
    // The settings of the kernel are nobody's own: no attack may aim at them.
    let settings = || {
        ["core_pattern", "domainname", "modprobe"]
            .map(|name| fs::read(format!("/proc/sys/kernel/{name}")).ok())
    };
    let before = settings();
    each(ATTACKS, |attack| {
        for victim in attack.victims.iter().filter(known) {
            let harm = attack.succeed_on(victim);
            println!("{:45} {victim:?}: {harm:?}", attack.name);
            assert_eq!(settings(), before, "{} has changed the host", attack.name);
        }
    });
}

impl Attack {
    /// Some attacks are races, and any can be lost on a machine that is busy: to be
    /// seen to succeed, once is enough.
    fn succeed_on(&self, victim: &Victim) -> Harm {
        let begin = Instant::now();
        loop {
            let outcome = self.try_on(victim);
            match outcome {
                Ok(harm) if !harm.is_empty() => return harm,
                _ => {
                    let outcome = format!("{} fails on {victim:?}: {outcome:?}", self.name);
                    assert!(begin.elapsed() < PATIENCE, "{outcome}");
                    println!("{outcome}: once more");
                }
            }
        }
    }

    /// What the attack did to a victim, where hanging is harm too, or what was in
    /// its way.
    fn try_on(&self, victim: &Victim) -> Result<Harm, String> {
        let world = match victim {
            Runc => Runtime::peer("runc"),
            Crun => Runtime::peer("crun"),
            Without(defences) => Runtime::weakened(defences),
        };
        catch_unwind(AssertUnwindSafe(|| (self.attempt)(&world))).or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            match text.lines().next() {
                Some(line) if line.contains("did not end within") => Ok(vec![line.to_owned()]),
                _ => Err(text),
            }
        })
    }
}
