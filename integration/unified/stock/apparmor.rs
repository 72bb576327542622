//! AppArmor profiles, where AppArmor is active.

use hako_integration::{Runtime, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// A loaded profile that allows everything but reading two files, until it is dropped.
struct Profile(String, &'static str);

impl Profile {
    fn load(hako: &Runtime, denied: &'static str) -> Self {
        let name = hako.scratch().file_name().unwrap().to_str().unwrap();
        let profile = Self(format!("{name}-{denied}"), denied);
        profile.parse("--replace");
        profile
    }

    /// Hands it to apparmor_parser(8).
    fn parse(&self, action: &str) {
        let Self(name, denied) = self;
        let text = format!(
            "profile {name} flags=(attach_disconnected, mediate_deleted) {{\n\
             file, capability, network, mount, umount, pivot_root, ptrace, signal, unix,\n\
             deny /{denied} r,\n}}\n"
        );
        let mut parser = Command::new("apparmor_parser")
            .args([action, "--skip-cache", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("apparmor_parser");
        parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(parser.wait().unwrap().success(), "{action} {text}");
    }

    fn enforced(&self) -> String {
        format!("{} (enforce)\n", self.0)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parse("--remove");
    }
}

const LABEL: &str = "/proc/self/attr/apparmor/current";

#[test]
fn a_profile_confines_the_program_and_what_is_executed_later() {
    let hako = Runtime::new();
    let (one, other) = (Profile::load(&hako, "one"), Profile::load(&hako, "other"));
    let mut bundle = hako.bundle();
    for file in ["one", "other"] {
        bundle.write(file, "text");
    }
    let chain = format!("read {LABEL} -- read /one -- read /other");
    for no_new_privileges in [false, true] {
        bundle.set("/process/noNewPrivileges", no_new_privileges);
        bundle.set("/process/apparmorProfile", one.0.as_str());
        let container = hako.serve(&bundle);
        let confined = json!([one.enforced(), { "errno": "EACCES" }, "text"]);
        assert_eq!(json!(container.ask(&chain)), confined);

        let exec = |options: &[&str]| json!(container.exec_and_ask(options, &chain));
        assert_eq!(exec(&[]), confined, "exec inherits it");
        let confined = json!([other.enforced(), "text", { "errno": "EACCES" }]);
        assert_eq!(exec(&["--apparmor", &other.0]), confined, "exec with its own");
        drop(container);
    }
    bundle.remove("/process/apparmorProfile");
    assert_eq!(hako.ask(&bundle, &chain), ["unconfined\n", "text", "text"]);
}

#[test]
fn a_profile_that_is_not_loaded_is_an_error() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/apparmorProfile", "hako-nobody-has-loaded-it");
    let refused = hako.on_bundle(&["create"], &bundle).output();
    refused.refuses("/process/apparmorProfile");
    refused.fails("hako-nobody-has-loaded-it");
    assert!(refused.stderr.contains("the profile is not loaded"), "{refused}");
}

/// The label is written to the kernel's file, whatever the image has in /proc.
#[test]
fn an_image_cannot_keep_the_profile_off() {
    let hako = Runtime::new();
    let profile = Profile::load(&hako, "one");
    let mut bundle = hako.bundle();
    bundle.write("one", "text");
    for path in ["/proc/self/attr/exec", "/proc/self/attr/apparmor/exec"] {
        bundle.write(path, "untouched");
    }
    bundle.set("/process/apparmorProfile", profile.0.as_str()).set("/mounts", json!([]));
    bundle.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    let chain = "read /one -- read /proc/self/attr/exec -- read /proc/self/attr/apparmor/exec";
    let expected = [json!({ "errno": "EACCES" }), json!("untouched"), json!("untouched")];
    assert_eq!(hako.ask(&bundle, chain), expected);
    assert_eq!(hako.serve(&bundle).exec_and_ask(&[], chain), expected);
}
