//! Device rules as properties of a systemd unit (systemd.resource-control(5)).

use super::{Devices, Kind, Rule};
use crate::cgroups::systemd::{Property, Value};

/// Terminals: the one driver that containers use with all its minor numbers.
const PTS: (Kind, u32) = (Kind::Char, 136);

impl Devices {
    /// What systemd allows as well: whoever looks at the unit sees the devices.
    /// systemd's list knows no exceptions and no drivers by their numbers, so
    /// it may be longer than the rules. Those decide, in hako's own program.
    pub fn properties(&self) -> Vec<Property> {
        if self.allow_others {
            return vec![Property::new("DevicePolicy", Value::Text("auto".to_owned()))];
        }
        let mut list = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.allow) {
            let kinds = rule.kind.map_or(vec![Kind::Block, Kind::Char], |kind| vec![kind]);
            list.extend(kinds.into_iter().map(|kind| (node(kind, rule), rule.access.to_string())));
        }
        vec![
            Property::new("DevicePolicy", Value::Text("strict".to_owned())),
            // An update replaces the list.
            Property::new("DeviceAllow", Value::TextPairs(Vec::new())),
            Property::new("DeviceAllow", Value::TextPairs(list)),
        ]
    }
}

fn node(kind: Kind, rule: &Rule) -> String {
    let name = match kind {
        Kind::Block => "block",
        Kind::Char => "char",
    };
    match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => format!("/dev/{name}/{major}:{minor}"),
        (Some(major), None) if (kind, major) == PTS => "char-pts".to_owned(),
        _ => format!("{name}-*"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(rules: serde_json::Value) -> Vec<String> {
        let rules: Vec<_> = serde_json::from_value(rules).unwrap();
        let (devices, faults) = Devices::new(&rules);
        assert_eq!(faults, []);
        devices.properties().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn systemd_allows_at_least_what_the_rules_allow() {
        let properties = shown(json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": true, "type": "b", "major": 8, "access": "r"},
            {"allow": false, "type": "b", "major": 8, "minor": 1, "access": "r"},
        ]));
        let [policy, reset, list] = &properties[..] else { panic!("{properties:?}") };
        assert_eq!((policy.as_str(), reset.as_str()), ("DevicePolicy=strict", "DeviceAllow="));
        for entry in ["/dev/char/10:229 rw", "block-* r", "char-* m", "char-pts rwm"] {
            assert!(list.contains(entry), "{entry} is not in {list}");
        }
        assert!(!list.contains("8:1"), "{list}");
        assert_eq!(shown(json!([{"allow": true, "access": "rwm"}])), ["DevicePolicy=auto"]);
    }
}
