use super::super::elf::tests::program as elf_program;
use super::*;
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// A file called `x` with these bytes and this mode.
fn file(bytes: &[u8], mode: u32) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

/// Executes the file, which must fail, and has the failure explained.
fn execute(path: &Path) -> Error {
    // Another test's fork may hold the file open for writing for a moment.
    for _ in 0..100 {
        let failure = std::process::Command::new(path).output().unwrap_err();
        let errno = failure.raw_os_error().unwrap();
        if errno != libc::ETXTBSY {
            return explain(errno, path, "x");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    explain(libc::ETXTBSY, path, "x")
}

#[track_caller]
fn says(error: &Error, start: &str, part: &str) {
    let text = error.to_string();
    assert!(text.starts_with(start), "{text}");
    assert!(text.contains(part), "{text}");
}

#[test]
fn scripts() {
    let (_directory, path) = file(b"#! /no/sh -e\n", 0o755);
    let start = "exec: \"x\": interpreter \"/no/sh\" of its #! line: ";
    says(&execute(&path), start, "no such file or directory");
    let (_directory, path) = file(b"#!/bin/sh\r\necho\r\n", 0o755);
    let error = execute(&path);
    let start = "exec: \"x\": interpreter \"/bin/sh\\r\" of its";
    says(&error, start, "no such file");
    assert!(error.hint.unwrap().contains("CRLF"));
    let (_directory, path) = file(b"#!/etc/passwd\n", 0o755);
    let start = "exec: \"x\": interpreter \"/etc/passwd\" of its #! line: user ";
    says(&execute(&path), start, "(mode 0644");
    let (_directory, path) = file(b"#!\n", 0o755);
    let start = "exec: \"x\": its #! line names no";
    says(&execute(&path), start, "exec format error");
    let long = format!("#!/{}", "x".repeat(400));
    let (_directory, path) = file(long.as_bytes(), 0o755);
    let start = "exec: \"x\": its #! line is longer";
    says(&execute(&path), start, "exec format error");
}

#[test]
fn interpreter_of_an_interpreter() {
    let (_inner, interpreter) = file(b"#!/no/sh\n", 0o755);
    let script = format!("#!{}\n", interpreter.display());
    let (_outer, path) = file(script.as_bytes(), 0o755);
    let part = "of its #! line: interpreter \"/no/sh\" of its";
    says(&execute(&path), "exec: \"x\": interpreter", part);
    // A script that interprets itself.
    let (_directory, path) = file(b"", 0o755);
    fs::write(&path, format!("#!{}\n", path.display())).unwrap();
    assert_eq!(execute(&path).errno, Some(libc::ELOOP));
    assert_eq!(explain(libc::ENOENT, &path, "x").errno, Some(libc::ENOENT));
}

#[test]
fn programs() {
    let (native, foreign) = if cfg!(target_arch = "x86_64") { (62, 183) } else { (183, 62) };
    let built_for = "exec: \"x\": it is built for ";
    let (_directory, path) = file(&elf_program(foreign, None), 0o755);
    let error = execute(&path);
    says(&error, built_for, "exec format error");
    assert!(error.message.contains("aarch64") && error.message.contains("x86-64"));
    assert!(error.hint.unwrap().contains("linux/amd64"));
    let (_directory, path) = file(&elf_program(native, Some("/no/ld.so")), 0o755);
    let start = "exec: \"x\": its dynamic loader \"/no/ld.so\": ";
    says(&execute(&path), start, "no such file");
    // The kernel reads neither field, but it knows real ones by the layout.
    for (byte, value, part) in [(4, 1, "32 bits"), (5, 2, "big endian")] {
        let mut wrong = elf_program(native, None);
        wrong[byte] = value;
        let (_directory, path) = file(&wrong, 0o755);
        says(&explain(libc::ENOEXEC, &path, "x"), built_for, part);
    }
    let (_directory, path) = file(b"\x7fELF", 0o755);
    says(&execute(&path), "exec: \"x\": its ELF", "exec format error");
}

#[test]
fn other_files() {
    for (bytes, start) in [
        (&b""[..], "exec: \"x\": it is empty: "),
        (b"echo", "exec: \"x\": it has no #! line"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "exec: \"x\": a byte order mark"),
    ] {
        let (_directory, path) = file(bytes, 0o755);
        says(&execute(&path), start, "exec format error");
    }
    let (_directory, path) = file(b"#!/bin/sh\n", 0o644);
    says(&execute(&path), "exec: \"x\": user ", "permission denied");
    let start = "exec: \"x\": is a directory: permission denied";
    says(&execute(Path::new("/etc")), start, "");
    let start = "exec: \"x\": stat /no/x: no such file or directory";
    says(&execute(Path::new("/no/x")), start, "");
    let start = "exec: \"x\": stat /etc/passwd/x: not a directory";
    says(&execute(Path::new("/etc/passwd/x")), start, "");
    let (_directory, path) = file(b"#!/bin/sh\n", 0o755);
    let _writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let part = "is open for writing: text file busy";
    says(&execute(&path), "exec: \"x\": ", part);
}

#[test]
fn faults_that_are_not_the_files() {
    let path = Path::new("/bin/x");
    let error = explain(libc::E2BIG, path, "/bin/x");
    let start = "exec: \"/bin/x\": the arguments";
    says(&error, start, "argument list too long");
    let error = explain(libc::ENOMEM, path, "/bin/x");
    says(&error, "exec: \"/bin/x\": ", "(ENOMEM)");
    let error = explain(libc::EPERM, path, "x");
    says(&error, "exec: \"x\": /bin/x: operation not permitted", "");
}

#[test]
fn special_files_do_not_hang() {
    use rustix::fs::{Mode, mknodat};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let start = "exec: \"x\": is not a regular file: permission denied";
    says(&execute(&path), start, "");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/no/where", &link).unwrap();
    let start = "exec: \"x\": its symbolic link leads to \"/no/where\"";
    says(&execute(&link), start, "no such file");
}

#[test]
fn noexec_mount() {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    let test = || {
        if unshare(CloneFlags::CLONE_NEWNS).is_err() {
            return;
        }
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        let directory = tempfile::tempdir().unwrap();
        mount("t", directory.path(), "tmpfs", MountFlags::NOEXEC, None).unwrap();
        let path = directory.path().join("x");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = explain(libc::EACCES, &path, "x");
        let part = "lies on a noexec mount: permission denied";
        says(&error, "exec: \"x\": ", part);
        let flags = rustix::mount::UnmountFlags::DETACH;
        rustix::mount::unmount(directory.path(), flags).unwrap();
    };
    std::thread::spawn(test).join().unwrap();
}

#[test]
fn directory_without_search_permission() {
    let (directory, path) = file(b"#!/bin/sh\n", 0o755);
    let closed = fs::Permissions::from_mode(0o600);
    fs::set_permissions(directory.path(), closed).unwrap();
    let test = move || {
        // Of this thread alone.
        let nobody = rustix::fs::Uid::from_raw(65534);
        if rustix::thread::set_thread_res_uid(nobody, nobody, nobody).is_err() {
            return;
        }
        let error = explain(libc::EACCES, &path, "x");
        let start = "exec: \"x\": user 65534 may not search directory /";
        says(&error, start, "permission denied");
    };
    std::thread::spawn(test).join().unwrap();
}

#[test]
fn path_look_up() {
    let (first, _) = file(b"", 0o644);
    let (second, program) = file(b"", 0o755);
    let first = first.path().to_str().unwrap();
    let both = format!("/no:{first}:{}", second.path().display());
    let cwd = Path::new("/");
    assert_eq!(find_executable("x", Some(&both), cwd).unwrap(), program);
    let error = find_executable("x", Some(first), cwd).unwrap_err();
    says(&error, "exec: \"x\": ", "permission denied");
    for (name, path) in
        [("y", Some(both.as_str())), ("", None), ("x", Some("/no")), ("etc", Some("/"))]
    {
        let error = find_executable(name, path, cwd).unwrap_err();
        let expected = format!("exec: {name:?}: executable file not found in $PATH");
        assert_eq!(error.to_string(), expected);
    }
    // An empty element is the working directory.
    let found = find_executable("x", Some("/no::/no"), second.path());
    assert_eq!(found.unwrap(), Path::new("./x"));
    let found = find_executable("./x", None, second.path());
    assert_eq!(found.unwrap(), Path::new("./x"));
    let found = find_executable("sh", None, cwd);
    assert_eq!(found.unwrap(), Path::new("/bin/sh"));
    let error = find_executable("/no/x", None, cwd).unwrap_err();
    let start = "exec: \"/no/x\": stat /no/x: no such file or directory";
    says(&error, start, "");
    let error = find_executable("/etc", None, cwd).unwrap_err();
    says(&error, "exec: \"/etc\": is a directory: permission denied", "");
}
