//! Execution domain and NUMA memory policy.

use hako_integration::{Runtime, each, json};
use std::path::Path;

const PER_LINUX32: u64 = 0x0008;

#[test]
fn the_execution_domain_is_the_configured_one() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let native = hako.inspect(&bundle)["names"]["machine"].clone();

    bundle.set("/linux/personality", json!({ "domain": "LINUX32" }));
    let seen = hako.inspect(&bundle);
    assert_eq!(seen["personality"].as_u64().unwrap() & 0xff, PER_LINUX32);
    // Another name only where the kernel runs 32-bit programs.
    let output = std::process::Command::new("setarch").args(["linux32", "uname", "-m"]).output();
    let machine = String::from_utf8(output.expect("setarch").stdout).unwrap();
    assert_eq!(seen["names"]["machine"], machine.trim());

    // The caller's is replaced, too.
    bundle.set("/linux/personality", json!({ "domain": "LINUX" }));
    let command = hako.on_bundle(&["run"], &bundle).before("exec setarch linux32 \"$0\" \"$@\"");
    let seen = hako.finish(command, &bundle).ok().json();
    assert_eq!(seen["personality"].as_u64().unwrap() & 0xff, 0);
    assert_eq!(seen["names"]["machine"], native);
}

#[test]
fn impossible_personalities_are_refused() {
    let rows = [
        json!({ "domain": "LINUX64" }),
        json!({ "domain": "linux32" }),
        json!({ "domain": "" }),
        json!({}),
        json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] }),
        json!({ "domain": "LINUX", "flags": ["NONSENSE"] }),
    ];
    let hako = Runtime::new();
    each(rows, |personality| {
        let mut bundle = hako.bundle();
        bundle.set("/linux/personality", personality.clone());
        hako.refuses(&bundle, "/linux/personality");
    });
}

#[test]
fn every_memory_policy_is_set() {
    // Node 0 is on every machine.
    let rows = [
        (
            json!({ "mode": "MPOL_DEFAULT" }),
            json!({ "mode": "MPOL_DEFAULT", "flags": [], "nodes": [] }),
        ),
        (
            json!({ "mode": "MPOL_BIND", "nodes": "0" }),
            json!({ "mode": "MPOL_BIND", "flags": [], "nodes": [0] }),
        ),
        (
            json!({ "mode": "MPOL_BIND", "nodes": "0-0,0" }),
            json!({ "mode": "MPOL_BIND", "flags": [], "nodes": [0] }),
        ),
        (
            json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0" }),
            json!({ "mode": "MPOL_INTERLEAVE", "flags": [], "nodes": [0] }),
        ),
        (
            json!({ "mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0" }),
            json!({ "mode": "MPOL_WEIGHTED_INTERLEAVE", "flags": [], "nodes": [0] }),
        ),
        (
            json!({ "mode": "MPOL_PREFERRED", "nodes": "0" }),
            json!({ "mode": "MPOL_PREFERRED", "flags": [], "nodes": [0] }),
        ),
        (
            json!({ "mode": "MPOL_PREFERRED_MANY", "nodes": "0" }),
            json!({ "mode": "MPOL_PREFERRED_MANY", "flags": [], "nodes": [0] }),
        ),
        (
            json!({ "mode": "MPOL_LOCAL" }),
            json!({ "mode": "MPOL_LOCAL", "flags": [], "nodes": [] }),
        ),
        (
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }),
            json!({ "mode": "MPOL_BIND", "flags": ["MPOL_F_STATIC_NODES"], "nodes": [0] }),
        ),
        (
            json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"] }),
            json!({ "mode": "MPOL_INTERLEAVE", "flags": ["MPOL_F_RELATIVE_NODES"], "nodes": [0] }),
        ),
        (
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"] }),
            json!({ "mode": "MPOL_BIND", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"], "nodes": [0] }),
        ),
    ];
    let hako = Runtime::new();
    each(rows, |(policy, expected)| {
        let mut bundle = hako.bundle();
        bundle.set("/linux/memoryPolicy", policy.clone());
        if Path::new("/sys/devices/system/node").exists() {
            assert_eq!(hako.inspect(&bundle)["memory_policy"], *expected);
        } else {
            hako.refuses(&bundle, "/linux/memoryPolicy").fails("ENOSYS");
        }
    });
}

#[test]
fn impossible_memory_policies_are_refused() {
    let rows = [
        json!({ "mode": "MPOL_NONSENSE", "nodes": "0" }),
        json!({ "mode": "", "nodes": "0" }),
        json!({ "nodes": "0" }),
        json!({ "mode": "MPOL_BIND" }),
        json!({ "mode": "MPOL_BIND", "nodes": "" }),
        json!({ "mode": "MPOL_INTERLEAVE" }),
        json!({ "mode": "MPOL_PREFERRED_MANY" }),
        json!({ "mode": "MPOL_DEFAULT", "nodes": "0" }),
        json!({ "mode": "MPOL_LOCAL", "nodes": "0" }),
        json!({ "mode": "MPOL_BIND", "nodes": "x" }),
        json!({ "mode": "MPOL_BIND", "nodes": "1-0" }),
        json!({ "mode": "MPOL_BIND", "nodes": "1023" }),
        json!({ "mode": "MPOL_BIND", "nodes": "99999999999" }),
        json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NONSENSE"] }),
        json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"] }),
    ];
    let hako = Runtime::new();
    each(rows, |policy| {
        let mut bundle = hako.bundle();
        bundle.set("/linux/memoryPolicy", policy.clone());
        hako.refuses(&bundle, "/linux/memoryPolicy");
    });
}
