use super::simulation::{means, requests, run};
use super::*;
use proptest::prelude::*;

fn rule() -> impl Strategy<Value = Rule> {
    let kind = prop::option::of(prop_oneof![Just(Kind::Block), Just(Kind::Char)]);
    let number = || {
        prop::option::weighted(
            0.6,
            prop_oneof![0..3_u32, 0x1000_0000..0x1000_0003_u32, Just(u32::MAX)],
        )
    };
    (any::<bool>(), kind, number(), number(), 0..8_u32).prop_map(
        |(allow, kind, major, minor, access)| Rule {
            allow,
            kind,
            major,
            minor,
            access: Access(access),
        },
    )
}

proptest! {
    #[test]
    fn programs_do_what_rules_mean(rules in prop::collection::vec(rule(), 0..12), all in any::<Option<bool>>()) {
        let mut devices = Devices { allow_others: false, rules: Vec::new() };
        let first = all.map(|allow| Rule { allow, kind: None, major: None, minor: None, access: Access::ALL });
        for rule in first.iter().chain(&rules) {
            devices.add(*rule);
        }
        let program = devices.program();
        for request in requests(&[0, 1, 2, 3, 0xfff, u32::MAX]) {
            let meant = means(all == Some(true), &rules, request);
            prop_assert_eq!(means(devices.allow_others, &devices.rules, request), meant, "simplified: {} for {:?}", devices, request);
            prop_assert_eq!(run(&program, request), meant, "{} for {:?}", devices, request);
        }
    }
}

fn devices(rules: serde_json::Value) -> Devices {
    let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
    let (devices, faults) = Devices::new(&rules);
    assert!(faults.is_empty(), "{faults:?}");
    devices
}

#[test]
fn rules_without_effect_are_dropped() {
    use serde_json::json;
    let nothing = json!({"allow": false, "access": "rwm"});
    let zero = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"});
    let fuse = json!({"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"});
    let defaults = "deny all devices; allow those of every container";
    assert_eq!(devices(json!([])).to_string(), defaults);
    assert_eq!(devices(json!([nothing, nothing])).to_string(), defaults);
    let docker = devices(json!([nothing, zero, fuse, nothing, zero, fuse]));
    assert_eq!(docker.rules.len(), 11, "{docker}");
    let privileged = devices(json!([nothing, zero, {"allow": true, "access": "rwm"}]));
    assert!(privileged.allow_all(), "{privileged}");
    let but = devices(json!([{"allow": true}, {"allow": false, "type": "b"}]));
    assert_eq!(
        but.to_string(),
        "allow all devices; deny b *:* rwm; allow those of every container"
    );
    let order = devices(json!([
        {"allow": true, "type": "b", "major": 8, "access": "r"},
        {"allow": false, "type": "b", "major": 8, "minor": 1, "access": "rw"},
    ]));
    assert!(
        order.to_string().starts_with("deny all devices; allow b 8:* r; deny b 8:1 rw; allow"),
        "{order}"
    );
}

#[test]
fn what_is_no_rule_is_a_fault() {
    use serde_json::json;
    for (rule, field) in [
        (json!({"allow": true, "type": "p"}), "type"),
        (json!({"allow": true, "major": -2}), "major"),
        (json!({"allow": true, "minor": 4_294_967_296_u64}), "minor"),
        (json!({"allow": true, "access": "rx"}), "access"),
    ] {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(json!([rule])).unwrap();
        let (_, faults) = Devices::new(&rules);
        assert_eq!(faults[0].1.pointer.as_deref(), Some(field), "{rule}");
    }
}
