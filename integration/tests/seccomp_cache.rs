//! The cache of compiled filters: used when it is right, never when it is not.

use hako_integration::{Bundle, Runtime, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

fn directory(hako: &Runtime) -> PathBuf {
    hako.root().join(".cache/seccomp")
}

fn files(hako: &Runtime) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory(hako)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Runs a container in which getpid(2) must fail with this error.
fn refuses_getpid(hako: &Runtime, bundle: &mut Bundle, errno: u32, name: &str) {
    let rule = json!({ "names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno });
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    bundle.set("/linux/seccomp", profile);
    assert_eq!(hako.ask(bundle, "syscall getpid")[0], json!({ "errno": name }));
}

#[test]
fn a_profile_is_compiled_once_and_any_other_again() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    refuses_getpid(&hako, &mut bundle, 1, "EPERM");
    let first = files(&hako);
    assert_eq!(first.len(), 1);
    let made = fs::metadata(&first[0]).unwrap();
    assert_eq!(made.mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(directory(&hako)).unwrap().mode() & 0o7777, 0o700);
    refuses_getpid(&hako, &mut bundle, 1, "EPERM");
    assert_eq!(fs::metadata(&first[0]).unwrap().ino(), made.ino());
    // Nothing but an error number differs.
    refuses_getpid(&hako, &mut bundle, 13, "EACCES");
    assert_eq!(files(&hako).len(), 2);
    assert_eq!(hako.command(&["list", "-q"]).output().ok().stdout, "");
}

#[test]
fn what_is_not_as_it_was_written_is_not_used() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    refuses_getpid(&hako, &mut bundle, 1, "EPERM");
    let file = files(&hako).remove(0);
    let good = fs::read(&file).unwrap();
    // Every part of it: magic bytes, lengths, key, program, checksum; cut off; much longer.
    let places = [0, 5, 14, 18, 40, good.len() / 2, good.len() - 9, good.len() - 1];
    for place in places {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(&file, bad).unwrap();
        refuses_getpid(&hako, &mut bundle, 1, "EPERM");
        assert_eq!(fs::read(&file).unwrap(), good, "byte {place}");
    }
    for bad in [Vec::new(), good[..good.len() - 8].to_vec(), vec![0; 2 << 20]] {
        fs::write(&file, bad).unwrap();
        refuses_getpid(&hako, &mut bundle, 1, "EPERM");
        assert_eq!(fs::read(&file).unwrap(), good);
    }
}

#[test]
fn what_others_could_have_written_is_not_used() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    refuses_getpid(&hako, &mut bundle, 13, "EACCES");
    let lie = fs::read(files(&hako).remove(0)).unwrap();
    fs::remove_dir_all(directory(&hako)).unwrap();
    refuses_getpid(&hako, &mut bundle, 1, "EPERM");
    let file = files(&hako).remove(0);
    let good = fs::read(&file).unwrap();

    // Another profile's file under this one's name: the key inside tells.
    fs::write(&file, &lie).unwrap();
    refuses_getpid(&hako, &mut bundle, 1, "EPERM");
    assert_eq!(fs::read(&file).unwrap(), good);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o622)).unwrap();
    refuses_getpid(&hako, &mut bundle, 1, "EPERM");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600, "it is written anew");
    chown(&file, Some(1000), None).unwrap();
    refuses_getpid(&hako, &mut bundle, 1, "EPERM");
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
    let elsewhere = hako.file("elsewhere", "");
    fs::rename(&file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    refuses_getpid(&hako, &mut bundle, 1, "EPERM");
    assert!(fs::symlink_metadata(&file).unwrap().is_file());

    // A directory of others' is left alone, and the container runs without a cache.
    fs::set_permissions(directory(&hako), fs::Permissions::from_mode(0o777)).unwrap();
    fs::remove_file(&file).unwrap();
    refuses_getpid(&hako, &mut bundle, 1, "EPERM");
    assert!(!file.exists());
    fs::remove_dir_all(directory(&hako)).unwrap();
    fs::write(directory(&hako), "in the way").unwrap();
    refuses_getpid(&hako, &mut bundle, 1, "EPERM");
}

#[test]
fn the_cache_does_not_grow_for_ever() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    refuses_getpid(&hako, &mut bundle, 1, "EPERM");
    for number in 0..64 {
        fs::write(directory(&hako).join(format!("{number:016x}")), "").unwrap();
    }
    refuses_getpid(&hako, &mut bundle, 13, "EACCES");
    assert_eq!(files(&hako).len(), 1);
}
