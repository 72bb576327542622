//! Groups of resctrl, in a directory that stands in for it: a debug build takes
//! one. The files that the kernel makes in a group are made before.

use hako_integration::{Bundle, Runtime, json};
use std::fs;
use std::path::PathBuf;

struct Stand<'h> {
    hako: &'h Runtime,
    directory: PathBuf,
}

impl<'h> Stand<'h> {
    fn new(hako: &'h Runtime) -> Self {
        let stand = Self { hako, directory: hako.scratch().join("resctrl") };
        stand.populate("gold");
        stand
    }

    fn populate(&self, group: &str) {
        let directory = self.directory.join(group);
        fs::create_dir_all(directory.join("mon_groups")).unwrap();
        fs::write(directory.join("schemata"), "MB:0=100\nL3:0=fff\n").unwrap();
        fs::write(directory.join("tasks"), "").unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.directory.join(file)).unwrap()
    }

    /// What has been written to `tasks`, once.
    fn take_tasks(&self, group: &str) -> String {
        let text = self.read(&format!("{group}/tasks"));
        fs::write(self.directory.join(group).join("tasks"), "").unwrap();
        text
    }

    fn bundle(&self, rdt: hako_integration::Value) -> Bundle {
        let mut bundle = self.hako.bundle();
        bundle.set("/linux/intelRdt", rdt);
        bundle
    }
}

#[test]
fn a_container_and_what_is_executed_in_it_are_in_its_group() {
    let hako = Runtime::with_resctrl();
    let stand = Stand::new(&hako);
    let bundle = stand.bundle(json!({ "closID": "gold" }));
    let container = hako.serve(&bundle);
    assert_eq!(stand.take_tasks("gold"), container.pid().to_string());
    assert_eq!(stand.read("gold/schemata"), "MB:0=100\nL3:0=fff\n", "nothing was asked for");
    let pid_file = hako.scratch().join("pid");
    let exec = ["exec", "--pid-file", pid_file.to_str().unwrap()];
    let _ = hako.command(&exec).arg(container.id()).arg("/bin/inspector").output().ok();
    assert_eq!(stand.take_tasks("gold"), fs::read_to_string(pid_file).unwrap());
    drop(container);
    assert!(stand.directory.join("gold").is_dir(), "a group with a name is somebody's");
}

#[test]
fn update_changes_the_group() {
    let hako = Runtime::with_resctrl();
    let stand = Stand::new(&hako);
    let container = hako.serve(&stand.bundle(json!({ "closID": "gold" })));
    let update = |option: &str, line: &str| container.command(&["update", option, line]).output();
    let _ = update("--mem-bw-schema", "MB:0=050").ok();
    assert_eq!(stand.read("gold/schemata"), "MB:0=050\nL3:0=fff\n");
    let _ = update("--l3-cache-schema", "L3:0=00").ok();
    assert_eq!(stand.read("gold/schemata"), "L3:0=00\n\nL3:0=fff\n");
    update("--mem-bw-schema", "0=10").fails("--mem-bw-schema");
    update("--l3-cache-schema", "L3:0=1\nMB:0=1").fails("--l3-cache-schema");
    assert_eq!(stand.read("gold/schemata"), "L3:0=00\n\nL3:0=fff\n");
}

#[test]
fn a_group_of_another_schema_is_not_joined() {
    let hako = Runtime::with_resctrl();
    let stand = Stand::new(&hako);
    let bundle = stand.bundle(json!({ "closID": "gold", "l3CacheSchema": "L3:0=0f" }));
    let refused = hako.on_bundle(&["create"], &bundle).output();
    refused.refuses("/linux/intelRdt");
    refused.fails("has another schema than L3:0=0f");
    let bundle = stand.bundle(json!({ "closID": "silver" }));
    let refused = hako.on_bundle(&["create"], &bundle).output();
    refused.refuses("/linux/intelRdt");
    refused.fails("there is no group");
    assert_eq!(
        (stand.read("gold/tasks").as_str(), stand.directory.join("silver").exists()),
        ("", false)
    );
}

#[test]
fn a_monitored_container_is_in_a_group_for_that_besides() {
    let hako = Runtime::with_resctrl();
    let stand = Stand::new(&hako);
    let bundle = stand.bundle(json!({ "closID": "gold", "enableMonitoring": true }));
    let monitor = format!("gold/mon_groups/{}", bundle.id());
    stand.populate(&monitor);
    let container = hako.create(&bundle);
    for group in ["gold", &monitor] {
        assert_eq!(stand.take_tasks(group), container.pid().to_string(), "{group}");
    }
}

/// Here a new group stays without files: the step after it fails.
#[test]
fn a_failed_create_leaves_no_group() {
    let hako = Runtime::with_resctrl();
    let stand = Stand::new(&hako);
    for rdt in
        [json!({ "schemata": ["L3:0=f"] }), json!({ "closID": "new", "memBwSchema": "MB:0=9" })]
    {
        let bundle = stand.bundle(rdt);
        hako.run(&bundle).refuses("/linux/intelRdt");
        let groups: Vec<_> = fs::read_dir(&stand.directory).unwrap().flatten().collect();
        assert_eq!(groups.len(), 1, "{groups:?}");
    }
}
