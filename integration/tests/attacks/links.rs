//! Root file systems whose paths lead elsewhere.

use super::Harm;
use super::sentinel::{PRECIOUS, Sentinel};
use hako_integration::{Bundle, Runtime, Terminal, Value, copy_program, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A bundle with a writable root.
pub fn bundle(world: &Runtime) -> Bundle {
    let mut bundle = world.bundle();
    bundle.set("/root/readonly", false);
    bundle
}

/// The same with nothing mounted over the image's /dev.
pub fn bundle_without_dev(world: &Runtime) -> Bundle {
    let mut bundle = bundle(world);
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    bundle
}

/// Replaces what the root file system has at a path by a link.
fn link(bundle: &Bundle, target: &Path, inside: &str) {
    let path = bundle.rootfs(inside);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&path);
    symlink(target, path).unwrap();
}

/// Mounts, devices and the working directory at places that links lead to the
/// host: there, runtimes make directories, files and nodes.
pub fn destinations_behind_links(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let (dir, file) = (world.dir("source"), world.file("source-file", "mine"));
    let mut harm = Vec::new();
    let places: [&dyn Fn(&mut Bundle); 8] =
        [
            &|bundle| drop(bundle.bind(&dir, "/link/new", &["bind"])),
            &|bundle| drop(bundle.bind(&dir, "/link", &["bind"])),
            &|bundle| drop(bundle.bind(&file, "/link/new-file", &["bind"])),
            &|bundle| drop(bundle.bind(&file, "/link/deep/down", &["bind", "dest-nofollow"])),
            &|bundle| {
                drop(bundle.mount(
                    json!({ "destination": "/link/tmp", "type": "tmpfs", "source": "tmpfs" }),
                ))
            },
            &|bundle| {
                drop(bundle.mount(
                    json!({ "destination": "/link/sys", "type": "sysfs", "source": "sysfs" }),
                ))
            },
            &|bundle| {
                bundle.set("/process/cwd", "/link/cwd");
            },
            &|bundle| {
                let device = json!({ "path": "/link/node", "type": "c", "major": 1, "minor": 3 });
                bundle.set("/linux/devices", json!([device]));
            },
        ];
    for target in sentinel.links_to("").iter().chain(&sentinel.links_to("missing")) {
        for place in places {
            let mut bundle = bundle(world);
            link(&bundle, target, "/link");
            place(bundle.inspector("ls /"));
            let _ = world.run(&bundle);
            harm.extend(sentinel.changes());
        }
    }
    harm
}

/// The image has /dev as a link, and nothing is mounted there.
pub fn a_link_for_dev(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let mut harm = Vec::new();
    for target in sentinel.links_to("") {
        let mut bundle = bundle_without_dev(world);
        link(&bundle, &target, "/dev");
        let _ = world.run(bundle.inspector("ls /"));
        harm.extend(sentinel.changes());
    }
    harm
}

/// /dev/console is a link where the terminal is to be bound.
pub fn a_link_for_the_console(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let mut harm = Vec::new();
    let targets = ["console", "missing"].map(|name| sentinel.links_to(name)).concat();
    for target in targets {
        let mut bundle = bundle(world);
        // A directory of the image instead of a fresh tmpfs.
        let mounts = bundle.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/dev");
        for dir in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
            bundle.mkdir(dir);
        }
        link(&bundle, &target, "/dev/console");
        bundle.set("/process/terminal", true).inspector("write /dev/console gotcha");
        let terminal = Terminal::open();
        let command = world.on_bundle(&["run"], &bundle).on_terminal(&terminal);
        let _ = world.finish(command, &bundle);
        harm.extend(sentinel.changes());
    }
    harm
}

/// /dev/null is a link to a setting of the kernel, or to any file: whoever masks
/// a file with it shows that in its place, and whoever takes a stream for
/// /dev/null because it has the same device number writes to it.
pub fn a_link_for_null(world: &Runtime) -> Harm {
    let mut harm = Vec::new();
    for target in ["/proc/sys/kernel/domainname", "/proc/version", "/secret"] {
        let mut bundle = bundle_without_dev(world);
        bundle.write("/secret", "of the image");
        bundle.write("/masked", "hidden");
        link(&bundle, Path::new(target), "/dev/null");
        bundle.set("/linux/maskedPaths", json!(["/masked"]));
        let output = world.run(bundle.inspector("stat /masked -- read /masked"));
        if output.code != Some(0) {
            continue;
        }
        let [kind, text] = &output.values()[..] else {
            harm.push(format!("what it prints goes to {target}"));
            continue;
        };
        let is_null = kind["type"] == "char" && kind["major"] == 1 && kind["minor"] == 3;
        if !is_null || text != "" {
            harm.push(format!("instead of the masked file there is {target}: {text}"));
        }
    }
    harm
}

/// Masked and read-only paths are links to the host: what they mean is inside.
pub fn links_for_masked_paths(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let mut harm = Vec::new();
    for field in ["maskedPaths", "readonlyPaths"] {
        for target in sentinel.links_to("file") {
            let mut bundle = bundle(world);
            // The same path inside, where the link leads in the container.
            let inside = sentinel.dir().join("file");
            bundle.write(inside.to_str().unwrap(), "of the image");
            link(&bundle, &target, "/link");
            bundle.set(&format!("/linux/{field}"), json!(["/link"]));
            let chain = format!("read {0} -- write {0} changed", inside.display());
            let output = world.run(bundle.inspector(&chain));
            harm.extend(sentinel.changes());
            let missed = output.code == Some(0)
                && match field {
                    "maskedPaths" => output.values()[0] != "",
                    _ => output.values()[1] != json!({ "errno": "EROFS" }),
                };
            if missed {
                harm.push(format!("{field} missed {}", inside.display()));
            }
        }
    }
    harm
}

/// Whether the container's /proc is the kernel's, with what is masked in it.
fn judge_proc(seen: &[Value]) -> Option<String> {
    const PROC: &str = "9fa0";
    let [kind, keys, ..] = seen else { return Some("no answer".to_owned()) };
    if kind["type"] != PROC {
        return Some(format!("/proc is of type {}", kind["type"]));
    }
    (keys != "").then(|| "a masked file is to be seen".to_owned())
}

/// /proc is a link: the kernel's files land somewhere else, and what is masked
/// in /proc is not there.
pub fn a_link_for_proc(world: &Runtime) -> Harm {
    let mut harm = Vec::new();
    for target in ["/elsewhere", "elsewhere", "/sys"] {
        let mut bundle = bundle(world);
        bundle.write("/elsewhere/keys", "false");
        link(&bundle, Path::new(target), "/proc");
        let output = world.run(bundle.inspector("stat /proc -- statfs /proc -- read /proc/keys"));
        if output.code == Some(0) && output.values()[0]["type"] == "symlink" {
            harm.push(format!("/proc is a link to {target}"));
        }
    }
    harm
}

/// Volumes over /proc and what is inside it: labels and settings of the kernel
/// would be written to files of the attacker.
pub fn volumes_over_proc(world: &Runtime) -> Harm {
    let mut harm = Vec::new();
    let dir = world.dir("false-proc");
    let file = world.file("false-file", "untouched");
    let _ = world.file("false-proc/keys", "false");
    let volumes: [(&Path, &str); 7] = [
        (&dir, "/proc"),
        (&dir, "/proc/sys"),
        (&dir, "/proc/self/attr"),
        (&dir, "/proc/sys/net"),
        (&file, "/proc/sysrq-trigger"),
        (&file, "/proc/sys/kernel/domainname"),
        (&file, "/link/self/oom_score_adj"),
    ];
    for (source, destination) in volumes {
        let mut bundle = bundle(world);
        link(&bundle, Path::new("/proc"), "/link");
        bundle.bind(source, destination, &["bind"]);
        bundle.inspector("statfs /proc -- read /proc/keys -- report");
        let output = world.run(&bundle);
        if output.code != Some(0) {
            continue;
        }
        let seen = output.values();
        harm.extend(judge_proc(&seen));
        let path = destination.replace("/link", "/proc");
        let covered = seen[2]["mounts"].as_array().into_iter().flatten();
        let covered =
            covered.filter(|mount| mount["target"] == path.as_str() && mount["type"] != "proc");
        harm.extend(covered.map(|mount| format!("{path} is covered by {}", mount["source"])));
    }
    harm
}

/// What is mounted below a read-only path is read-only with it.
pub fn submounts_of_read_only_paths(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let mut bundle = bundle(world);
    bundle.bind(sentinel.dir(), "/protected/volume", &["rbind"]);
    bundle.set("/linux/readonlyPaths", json!(["/protected"]));
    let _ = world.run(bundle.inspector("write /protected/volume/file changed"));
    sentinel.changes()
}

/// The root file system itself is a link to a directory of the host.
pub fn a_link_for_the_root(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let mut bundle = bundle(world);
    fs::create_dir_all(sentinel.dir().join("bin")).unwrap();
    copy_program(&bundle.rootfs("/bin/inspector"), &sentinel.dir().join("bin/inspector"));
    fs::rename(bundle.rootfs("/"), bundle.dir().join("moved")).unwrap();
    symlink(sentinel.dir(), bundle.dir().join("rootfs")).unwrap();
    let output = world.run(bundle.inspector("read /file"));
    let read = output.stdout.contains(PRECIOUS);
    read.then(|| "the container's root is a directory of the host".to_owned()).into_iter().collect()
}
