//! Device rules, from bytes to the program: no panic, every way through it ends, and it decides as the
//! rules do.

#![no_main]

#[path = "../../src/cgroups/devices/simulation.rs"]
mod simulation;

use hako::cgroups::{Access, Devices, Instruction, Kind, Rule};
use libfuzzer_sys::fuzz_target;
use oci_spec::runtime::LinuxDeviceCgroup;
use simulation::{means, requests, run};

/// More numbers than this take longer to try than they are worth.
const MOST: usize = 12;

fuzz_target!(|bytes: &[u8]| {
    // Seeds are lists of rules, and whole configurations.
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let part = document.pointer("/linux/resources/devices").unwrap_or(&document);
    let Ok(listed) = serde_json::from_value::<Vec<LinuxDeviceCgroup>>(part.clone()) else { return };
    let (devices, faults) = Devices::new(&listed);
    let parsed: Vec<_> = listed.iter().map(Rule::new).collect();
    assert_eq!(faults.len(), parsed.iter().filter(|rule| rule.is_err()).count());
    let rules: Vec<Rule> = parsed.into_iter().flatten().chain(Rule::always()).collect();
    let program = devices.program();
    for request in requests(&numbers(&rules)) {
        let meant = means(false, &rules, request);
        assert_eq!(run(&program, request), meant, "{devices} for {request:?}");
    }
    assert!(!devices.allow_all() || rules.iter().any(|rule| rule.allow && rule.kind.is_none()));
});

/// Those that rules name, and others.
fn numbers(rules: &[Rule]) -> Vec<u32> {
    let named = rules.iter().flat_map(|rule| [rule.major, rule.minor]).flatten();
    let mut numbers: Vec<u32> = [0, u32::MAX].into_iter().chain(named).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.truncate(MOST);
    numbers
}
