//! The journal as hako's log.

use hako_integration::{Runtime, wait_until};
use std::process::Command;

/// What the journal has under a name: each entry's priority and message.
fn entries(name: &str) -> String {
    let mut journal = Command::new("journalctl");
    let fields = "--output-fields=PRIORITY,MESSAGE";
    journal.args(["--identifier", name, "--output", "json", "--no-pager", fields]);
    String::from_utf8(journal.output().unwrap().stdout).unwrap()
}

#[test]
fn messages_go_to_the_journal_under_a_name() {
    let hako = Runtime::new();
    let own = hako.scratch().file_name().unwrap().to_str().unwrap();
    for kind in ["journald", "syslog"] {
        let name = format!("{own}-{kind}");
        let failed =
            hako.command(&["--log", &format!("{kind}:{name}"), "state", "nobody"]).output();
        failed.fails("does not exist");
        wait_until("the journal has the message", || !entries(&name).is_empty());
        let entry: hako_integration::Value = serde_json::from_str(&entries(&name)).unwrap();
        assert_eq!(entry["MESSAGE"], "state nobody: container does not exist");
        assert_eq!(entry["PRIORITY"], "3");
    }
    hako.command(&["--log", "journald:", "list"]).output().fails("no name for messages");
}
