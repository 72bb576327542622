//! What a distribution's kernel keeps from ordinary users. Its settings are those of
//! the whole machine, so `vm/test` runs these in the guest, wherever it is called.

use hako_integration::Runtime;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A setting of the kernel, until it is dropped.
struct Setting(&'static str, String);

impl Setting {
    fn change(path: &'static str, value: &str) -> Self {
        let before = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        fs::write(path, value).unwrap();
        Self(path, before)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        fs::write(self.0, &self.1).unwrap();
    }
}

/// Somebody may depend on the settings of any other machine.
fn assert_in_guest() {
    assert!(Path::new("/shared").is_dir(), "these tests are for the guest: integration/vm/test");
}

#[test]
fn user_namespaces_for_root_only() {
    assert_in_guest();
    let hako = Runtime::as_user();
    let bundle = hako.bundle();
    let _ = hako.inspect(&bundle);
    let setting = Setting::change("/proc/sys/kernel/unprivileged_userns_clone", "0");
    let output = hako.run(&bundle);
    output.fails("(kernel.unprivileged_userns_clone is 0)");
    assert!(
        output.stderr.contains("hint: as root: sysctl -w kernel.unprivileged_userns_clone=1"),
        "{output}"
    );
    drop(setting);
    let _ = hako.inspect(&bundle);
}

/// A profile that confines hako and says nothing of user namespaces.
#[test]
fn user_namespaces_that_apparmor_refuses() {
    assert_in_guest();
    let hako = Runtime::as_user();
    let bundle = hako.bundle();
    let name = "hako-test-no-userns";
    let profile = format!(
        "abi <abi/4.0>,\nprofile {name} flags=(attach_disconnected) {{\nfile, capability, network, mount, umount, \
         pivot_root, ptrace, signal, unix, change_profile,\n}}\n"
    );
    let parse = |action: &str| {
        let mut parser = Command::new("apparmor_parser");
        let parser = parser.args([action, "--skip-cache", "--quiet"]).stdin(Stdio::piped()).spawn();
        let mut parser = parser.expect("apparmor_parser");
        parser.stdin.take().unwrap().write_all(profile.as_bytes()).unwrap();
        parser.wait().unwrap().success()
    };
    assert!(parse("--replace"));
    let confined = format!("exec aa-exec --profile={name} -- \"$0\" \"$@\"");
    let output = hako.finish(hako.on_bundle(&["run"], &bundle).before(&confined), &bundle);
    assert!(parse("--remove"));
    output.fails("the AppArmor profile of hako refuses it: hako-test-no-userns");
    assert!(output.stderr.contains("hint: add the line userns, to the profile"), "{output}");
}
