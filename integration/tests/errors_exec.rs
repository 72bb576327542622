//! Programs that cannot be executed, and mounts that cannot be made: the error names the reason.
//! No peer names any of them; their rows only show that they fail, too.

use hako_integration::{Bundle, Output, Runtime, copy_program, each, json, make_executable};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Puts a program that cannot run at /app.
fn app(bundle: &mut Bundle, content: &[u8]) {
    let path = bundle.write("/app", "");
    fs::write(&path, content).unwrap();
    make_executable(&path);
    bundle.set("/process/args", ["/app"]);
}

/// `run` and `create` must fail with an error that contains all of these.
#[track_caller]
fn fails_with(hako: &Runtime, bundle: &Bundle, parts: &[&str]) -> Output {
    for verb in ["run", "create"] {
        let mut output = hako.on_bundle(&[verb], bundle).output();
        if output.code == Some(0) && verb == "create" {
            // Some reasons only execve itself can find.
            output = hako.command(&["start", bundle.id()]).output();
            let _ = hako.command(&["delete", "--force", bundle.id()]).output();
        }
        hako.verify_gone(bundle, &output);
        parts.iter().for_each(|part| output.fails(part));
        if verb == "create" {
            return output;
        }
    }
    unreachable!("the loop ends with create")
}

#[test]
fn a_missing_interpreter_of_a_script_is_named() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    app(&mut bundle, b"#!/usr/bin/no-such-shell -e\necho hi\n");
    let parts = ["/app", "/usr/bin/no-such-shell", "no such file or directory"];
    fails_with(&hako, &bundle, &parts).refuses("/process/args");
}

#[test]
fn windows_line_endings_of_a_script_are_named() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    app(&mut bundle, b"#!/bin/inspector\r\nprint hi\r\n");
    fails_with(&hako, &bundle, &["/app", "CRLF", "no such file or directory"]);
}

/// A header of 64 bytes and the program headers that follow it.
fn elf(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let header = [2_u16, machine].map(u16::to_le_bytes).concat();
    file.extend(header);
    file.extend(1_u32.to_le_bytes());
    for offset in [0x0040_0000_u64, 64, 0] {
        file.extend(offset.to_le_bytes()); // entry, program headers, section headers
    }
    file.extend(0_u32.to_le_bytes());
    let count = u16::from(interpreter.is_some()) + 1;
    for size in [64_u16, 56, count, 64, 0, 0] {
        file.extend(size.to_le_bytes());
    }
    let headers_end = 64 + 56 * u64::from(count);
    let mut program_header = |kind: u32, offset: u64, address: u64, size: u64| {
        file.extend(kind.to_le_bytes());
        file.extend(5_u32.to_le_bytes());
        for value in [offset, address, address, size, size, 4096] {
            file.extend(value.to_le_bytes());
        }
    };
    const LOAD: u32 = 1;
    const INTERPRETER: u32 = 3;
    program_header(LOAD, 0, 0x0040_0000, 4096);
    if let Some(name) = interpreter {
        let length = name.len() as u64 + 1;
        program_header(INTERPRETER, headers_end, 0x0040_0000 + headers_end, length);
        file.extend(name.as_bytes());
    }
    file.resize(4096, 0);
    file
}

const X86_64: u16 = 62;
const AARCH64: u16 = 183;

fn native() -> u16 {
    if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 }
}

#[test]
fn a_missing_dynamic_linker_is_named() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    app(&mut bundle, &elf(native(), Some("/lib/ld-musl-test.so.1")));
    let parts = ["/app", "/lib/ld-musl-test.so.1", "no such file or directory"];
    fails_with(&hako, &bundle, &parts);
}

#[test]
fn a_program_for_another_architecture_is_named() {
    let hako = Runtime::new();
    let foreign = [(AARCH64, "aarch64"), (X86_64, "x86_64"), (243, "riscv64"), (21, "ppc64")];
    each(foreign.iter().filter(|(machine, _)| *machine != native()), |(machine, name)| {
        let mut bundle = hako.bundle();
        app(&mut bundle, &elf(*machine, None));
        fails_with(&hako, &bundle, &["/app", "exec format error", name]);
    });
}

/// Through execvp(3) they would be run by a shell.
#[test]
fn files_that_are_no_programs_are_not_executed() {
    let hako = Runtime::new();
    let rows: [&[u8]; 4] = [b"", b"echo hi\n", b"#!\n", &[0; 512]];
    each(rows, |content| {
        let mut bundle = hako.bundle();
        bundle.install_busybox();
        app(&mut bundle, content);
        fails_with(&hako, &bundle, &["/app", "exec format error"]);
    });
}

#[test]
fn a_mount_that_forbids_execution_is_named() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let dir = hako.dir("programs");
    copy_program(&bundle.rootfs("/bin/inspector"), &dir.join("app"));
    bundle.bind(&dir, "/programs", &["bind", "noexec"]);
    bundle.set("/process/args", ["/programs/app"]);
    fails_with(&hako, &bundle, &["/programs/app", "permission denied", "noexec", "/programs"]);
}

#[test]
fn a_program_without_the_execute_bit_is_named() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    app(&mut bundle, b"#!/bin/inspector\n");
    fs::set_permissions(bundle.rootfs("/app"), fs::Permissions::from_mode(0o644)).unwrap();
    fails_with(&hako, &bundle, &["/app", "permission denied", "chmod"]);
}

/// Somebody else's: the bit is there, but not for this user.
#[test]
fn a_program_of_another_user_is_denied() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    app(&mut bundle, b"#!/bin/inspector\n");
    fs::set_permissions(bundle.rootfs("/app"), fs::Permissions::from_mode(0o700)).unwrap();
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    fails_with(&hako, &bundle, &["/app", "permission denied"]);
}

#[test]
fn a_directory_is_no_program() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/args", ["/bin"]);
    fails_with(&hako, &bundle, &["/bin", "is a directory", "permission denied"]);
}

/// Engines turn these words into the exit codes 127 and 126.
#[test]
fn a_missing_program_is_described_as_engines_expect() {
    let hako = Runtime::new();
    let rows = [
        ("/no/such/program", "no such file or directory"),
        ("no-such-program", "executable file not found in $PATH"),
        ("./no-such-program", "no such file or directory"),
        ("/bin/inspector/x", "not a directory"),
    ];
    each(rows, |(program, words)| {
        let mut bundle = hako.bundle();
        bundle.set("/process/args", [*program]);
        fails_with(&hako, &bundle, &[program, words]).refuses("/process/args");
    });
}

#[test]
fn a_loop_of_links_is_no_program() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    std::os::unix::fs::symlink("app", bundle.rootfs("/app")).unwrap();
    bundle.set("/process/args", ["/app"]);
    fails_with(&hako, &bundle, &["/app", "symbolic links"]);
}

#[test]
fn a_directory_mounted_onto_a_file_is_explained() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let dir = hako.dir("source");
    let pointer = bundle.bind(&dir, "/bin/inspector", &["bind"]);
    let output = hako.refuses(&bundle, &pointer);
    for part in ["/bin/inspector", dir.to_str().unwrap(), "directory", "file"] {
        output.fails(part);
    }
}

#[test]
fn an_option_the_file_system_does_not_know_is_named() {
    let hako = Runtime::new();
    each(["no-such-option", "size=many", "mode=9999", "nosuchkey=1"], |option| {
        let mut bundle = hako.bundle();
        let pointer = bundle.mount(json!({
            "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", option],
        }));
        hako.refuses(&bundle, &pointer).fails(option.split('=').next().unwrap());
    });
}

#[test]
fn an_unknown_file_system_is_named() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let mount = json!({ "destination": "/mnt", "type": "nosuchfs", "source": "none" });
    let pointer = bundle.mount(mount);
    hako.refuses(&bundle, &pointer).fails("nosuchfs");
}

#[test]
fn a_missing_source_is_named() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let pointer = bundle.bind("/no/such/source".as_ref(), "/mnt", &["bind"]);
    hako.refuses(&bundle, &format!("{pointer}/source")).fails("/no/such/source");
}
