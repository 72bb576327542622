use super::*;
use serde_json::json;
use tempfile::TempDir;

/// A directory in the place of resctrl: groups are ordinary directories, whose
/// files a test makes where the kernel would.
struct Stand(TempDir);

impl Stand {
    fn new() -> Self {
        let stand = Self(tempfile::tempdir().unwrap());
        stand.populate("");
        stand
    }

    fn populate(&self, group: &str) {
        let directory = self.0.path().join(group);
        std::fs::create_dir_all(directory.join("mon_groups")).unwrap();
        std::fs::write(directory.join("schemata"), "    MB:0=100;1=100\n    L3:0=00fff;1=00fff\n")
            .unwrap();
        std::fs::write(directory.join("tasks"), "").unwrap();
    }

    fn group(&self, rdt: serde_json::Value) -> Group {
        Group::new(&serde_json::from_value(rdt).unwrap(), self.0.path(), "web")
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.path().join(file)).unwrap()
    }
}

#[test]
fn a_group_without_a_name_is_the_containers_own() {
    let stand = Stand::new();
    let group = stand.group(json!({"l3CacheSchema": "L3:0=f"}));
    let record = group.foresee();
    assert_eq!(record.made, [stand.0.path().join("web")]);
    assert_eq!((group.make(), stand.0.path().join("web").is_dir()), (Ok(true), true));
    record.remove().unwrap();
    assert!(!stand.0.path().join("web").exists());
    assert_eq!(record.remove(), Ok(()), "what is gone is fine");
    // One that was there is used, and stays.
    stand.populate("web");
    assert_eq!(group.foresee().made, [] as [PathBuf; 0]);
    group.join(12).unwrap();
    assert_eq!(stand.read("web/tasks"), "12");
}

#[test]
fn schemata_are_written_in_order() {
    let stand = Stand::new();
    stand.populate("web");
    let rdt = json!({"memBwSchema": "MB:0=20", "schemata": ["L2:0=f"], "l3CacheSchema": "L3:0=f"});
    let group = stand.group(rdt);
    assert_eq!(group.schemata, ["L3:0=f", "MB:0=20", "L2:0=f"]);
    group.join(12).unwrap();
    // The kernel takes each; here the last write is what is seen.
    assert!(stand.read("web/schemata").starts_with("L2:0=f\n"));
}

#[test]
fn a_named_group_is_compared_and_never_removed() {
    let stand = Stand::new();
    let shared = stand.group(json!({"closID": "gold", "l3CacheSchema": "L3:1=fff;0=FFF"}));
    assert_eq!(shared.foresee().made, [] as [PathBuf; 0]);
    assert_eq!(shared.make(), Ok(true));
    stand.populate("gold");
    assert_eq!(shared.make(), Ok(false));
    for other in ["L3:0=ff", "L2:0=fff", "L3:2=fff"] {
        let group = stand.group(json!({"closID": "gold", "l3CacheSchema": other}));
        let error = group.make().unwrap_err();
        assert!(error.message.contains("another schema"), "{error}");
    }
}

#[test]
fn a_named_group_without_a_schema_must_be_there() {
    let stand = Stand::new();
    let group = stand.group(json!({"closID": "gold"}));
    assert!(group.join(12).unwrap_err().message.contains("no group"));
    stand.populate("gold");
    group.join(12).unwrap();
    assert_eq!(stand.read("gold/tasks"), "12");
    assert!(stand.read("gold/schemata").contains("L3:0=00fff"), "it was not written to");
    let root = stand.group(json!({"closID": "/"}));
    root.join(13).unwrap();
    assert_eq!(stand.read("tasks"), "13");
}

#[test]
fn a_monitored_container_has_a_group_for_that() {
    let stand = Stand::new();
    stand.populate("gold");
    let group = stand.group(json!({"closID": "gold", "enableMonitoring": true}));
    let monitor = stand.0.path().join("gold/mon_groups/web");
    let record = group.foresee();
    assert_eq!(record.made, std::slice::from_ref(&monitor));
    // The kernel would make the file tasks in it.
    let error = group.join(12).unwrap_err();
    assert!(error.message.contains("mon_groups/web/tasks"), "{error}");
    assert!(monitor.is_dir());
    record.remove().unwrap();
    assert!(!monitor.exists());
}

#[test]
fn an_update_changes_the_group_or_makes_one() {
    let stand = Stand::new();
    stand.populate("gold");
    let current = stand.group(json!({"closID": "gold"})).foresee();
    let lines = ["MB:0=50".to_owned()];
    let updated = Record::update(Some(&current), &lines, stand.0.path(), "web", 12).unwrap();
    assert_eq!(updated, current);
    assert!(stand.read("gold/schemata").starts_with("MB:0=50\n"));
    stand.populate("web");
    let made = Record::update(None, &lines, stand.0.path(), "web", 12).unwrap();
    assert_eq!(
        (made.directory, stand.read("web/tasks").as_str()),
        (stand.0.path().join("web"), "12")
    );
}

#[test]
fn another_process_of_the_container_joins_both_groups() {
    let stand = Stand::new();
    stand.populate("gold");
    stand.populate("gold/mon_groups/web");
    let group = stand.group(json!({"closID": "gold", "enableMonitoring": true}));
    group.foresee().group().join(77).unwrap();
    assert_eq!(stand.read("gold/tasks"), "77");
    assert_eq!(stand.read("gold/mon_groups/web/tasks"), "77");
    assert!(stand.read("gold/schemata").contains("L3:0=00fff"), "it was not written to");
}

#[test]
fn a_group_for_monitoring_that_cannot_be_made_is_an_error() {
    let stand = Stand::new();
    stand.populate("gold");
    std::fs::remove_dir(stand.0.path().join("gold/mon_groups")).unwrap();
    std::fs::create_dir(stand.0.path().join("info")).unwrap();
    let status = stand.0.path().join("info/last_cmd_status");
    std::fs::write(status, "out of RMIDs\n").unwrap();
    let group = stand.group(json!({"closID": "gold", "enableMonitoring": true}));
    let error = group.join(12).unwrap_err();
    assert!(error.message.contains("cannot make group"), "{error}");
    assert_eq!(error.hint.as_deref(), Some("the kernel says: out of RMIDs"));
}

#[test]
fn a_new_group_that_cannot_be_joined_goes_again() {
    let stand = Stand::new();
    for name in [json!({"closID": "new"}), json!({})] {
        let mut rdt = name;
        rdt["schemata"] = json!(["L3:0=f"]);
        // Nobody makes the files in it here.
        assert!(stand.group(rdt).join(12).unwrap_err().message.contains("schemata"));
    }
    for name in ["new", "web"] {
        assert!(!stand.0.path().join(name).exists(), "{name}");
    }
}

#[test]
fn options_of_update_are_lines_too() {
    let lines = schema_of_options(Some("L3:0=f"), Some("MB:0=10"));
    assert_eq!(lines, Ok(vec!["L3:0=f".to_owned(), "MB:0=10".to_owned()]));
    assert_eq!(schema_of_options(None, None), Ok(Vec::new()));
    for (cache, bandwidth, option) in [
        (Some("L3:0=f\nMB:0=1"), None, "--l3-cache-schema"),
        (None, Some("0=10"), "--mem-bw-schema"),
    ] {
        let error = schema_of_options(cache, bandwidth).unwrap_err();
        assert!(error.message.starts_with(option), "{error}");
    }
}
