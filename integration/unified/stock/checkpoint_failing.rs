//! What cannot be saved or restored is told, and nothing half-made is left.

use super::checkpoint::{
    checkpoint, count, counted_and_saved, counting, goes_on_from, restore, restoring, start,
};
use hako_integration::{Runtime, json};
use std::fs;

#[test]
fn a_container_that_cannot_be_saved_goes_on() {
    let hako = Runtime::new();
    let (mut bundle, numbers) = counting(&hako);
    let settings = hako.file("criu.conf", "mntns-compat-mode\n");
    bundle.set("/annotations", json!({ "org.criu.config": settings }));
    let images = hako.scratch().join("images");
    let container = start(&hako, &bundle);
    let before = count(&numbers);
    let failed = checkpoint(&container, &images, &[]).output();
    failed.fails("only valid on restore");
    assert!(failed.stderr.contains("dump.log"), "{failed}");
    assert_eq!(container.status(), "running");
    goes_on_from(&numbers, before);
    let left: Vec<_> =
        fs::read_dir(&images).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["dump.log"], "nothing that looks like a checkpoint");
    // The same with a directory of its own for the log.
    let work = hako.scratch().join("work");
    let options = ["--work-path", work.to_str().unwrap()];
    let failed = checkpoint(&container, &hako.scratch().join("others"), &options).output();
    failed.fails(&work.join("dump.log").display().to_string());
    assert!(work.join("dump.log").exists());
    fs::write(&settings, "").unwrap();
    let _ = checkpoint(&container, &images, &["--leave-running"]).output().ok();
}

#[test]
fn what_a_program_has_that_must_be_allowed_is_told() {
    let hako = Runtime::new();
    let (mut bundle, numbers) = counting(&hako);
    bundle.inspector("lock /dev/shm/lock count /numbers/now");
    let images = hako.scratch().join("images");
    let container = start(&hako, &bundle);
    let before = count(&numbers);
    checkpoint(&container, &images, &[]).output().fails("file-locks");
    assert_eq!(container.status(), "running");
    goes_on_from(&numbers, before);
    let _ = checkpoint(&container, &images, &["--file-locks"]).output().ok();
    let before = count(&numbers);
    drop(container);
    let command = restoring(&hako, &bundle, &images).arg("--file-locks");
    let container = hako.make(command, &bundle);
    goes_on_from(&numbers, before);
    let locks = fs::read_to_string("/proc/locks").unwrap();
    assert!(locks.contains(&format!("WRITE {} ", container.pid())), "{locks}");
}

#[test]
fn a_damaged_checkpoint_leaves_nothing() {
    let hako = Runtime::new();
    let (bundle, numbers) = counting(&hako);
    let images = hako.scratch().join("images");
    let before = counted_and_saved(&hako, &bundle, &numbers, &images);
    let pages = images.join("core-1.img");
    let whole = fs::read(&pages).unwrap();
    fs::write(&pages, &whole[..whole.len() / 2]).unwrap();
    let output = restoring(&hako, &bundle, &images).output();
    output.fails("criu could not restore the container: Error (");
    assert!(output.stderr.contains("restore.log"), "{output}");
    hako.verify_gone(&bundle, &output);
    fs::write(&pages, &whole).unwrap();
    let container = restore(&hako, &bundle, &images);
    goes_on_from(&numbers, before);
    drop(container);
}

#[test]
fn a_failing_hook_ends_the_restore() {
    let hako = Runtime::new();
    let (mut bundle, numbers) = counting(&hako);
    let images = hako.scratch().join("images");
    let _ = counted_and_saved(&hako, &bundle, &numbers, &images);
    bundle.set("/hooks/createRuntime", json!([{ "path": "/bin/false" }]));
    let output = restoring(&hako, &bundle, &images).output();
    output.fails("createRuntime hook #0");
    hako.verify_gone(&bundle, &output);
}

#[test]
fn what_is_no_running_container_is_not_saved() {
    let hako = Runtime::new();
    let (bundle, _) = counting(&hako);
    let images = hako.scratch().join("images");
    hako.command(&["checkpoint", "--image-path"])
        .arg(&images)
        .arg("nobody")
        .output()
        .fails("exist");
    let container = hako.create(&bundle);
    checkpoint(&container, &images, &[]).output().fails("checkpoint");
    assert_eq!(container.status(), "created");
    container.kill("KILL");
    container.wait_for_status("stopped");
    checkpoint(&container, &images, &[]).output().fails("checkpoint");
    assert!(!images.exists(), "nothing was written");
}
