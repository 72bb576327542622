//! Races: somebody who shares the root file system, or a volume, exchanges
//! directories and links without a pause while containers are started on it.

use super::Harm;
use super::descriptors::careless;
use super::files::{LIMIT, make_fifo};
use super::sentinel::{PRECIOUS, Sentinel};
use hako_integration::{Bundle, Output, Runtime, json};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long each race goes on, unless it is won before: a minute for all six.
const TIME: Duration = Duration::from_secs(10);

/// Two paths that are exchanged.
type Pair = (PathBuf, PathBuf);

/// A directory of the root file system, and beside it a link to the host.
fn pair(bundle: &Bundle, sentinel: &Sentinel, inside: &str) -> Pair {
    let other = format!("{inside}-link");
    bundle.mkdir(inside);
    symlink(sentinel.dir(), bundle.rootfs(&other)).unwrap();
    (bundle.rootfs(inside), bundle.rootfs(&other))
}

/// What makes others wait no longer, also when this thread panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `round` again and again while the pairs are exchanged, until it does harm
/// or the time is over.
fn race(sentinel: &Sentinel, pairs: &[Pair], mut round: impl FnMut() -> Output) -> Harm {
    let (over, exchanges) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (one, other) in pairs {
                    // A mount on one of them is in the way for a while.
                    let done = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
                    exchanges.fetch_add(done.is_ok().into(), Ordering::Relaxed);
                }
            }
        });
        let _over = Over(&over);
        let (begin, mut rounds) = (Instant::now(), 0);
        // A slow machine takes longer for what can be called a race.
        while begin.elapsed() < TIME || rounds <= 3 || exchanges.load(Ordering::Relaxed) <= 100 {
            assert!(
                begin.elapsed() < 6 * TIME,
                "{rounds} rounds, {exchanges:?} exchanges: no race"
            );
            let output = round();
            rounds += 1;
            let mut harm = sentinel.changes();
            if output.stdout.contains(PRECIOUS) {
                harm.push(format!("a file of the host was read: {output}"));
            }
            if !harm.is_empty() {
                return harm;
            }
        }
        Vec::new()
    })
}

fn run(world: &Runtime, bundle: &Bundle) -> Output {
    world.run(bundle)
}

/// Destinations of mounts, made where they are missing.
pub fn exchanged_destinations(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let (dir, file) = (world.dir("source"), world.file("source-file", "mine"));
    let mut bundle = world.bundle();
    let pairs = ["/a", "/b", "/c/d"].map(|inside| pair(&bundle, &sentinel, inside));
    for (number, place) in ["/a/x/y/z", "/b", "/c/d/e", "/a/x/q"].into_iter().enumerate() {
        bundle.bind(&dir, place, &["bind"]);
        bundle.bind(&file, &format!("/b/file-{number}"), &["bind"]);
    }
    bundle.mount(json!({ "destination": "/c/d/t/u", "type": "tmpfs", "source": "tmpfs" }));
    bundle.set("/root/readonly", false).inspector("read /a/file -- read /b/file -- read /c/d/file");
    race(&sentinel, &pairs, || {
        for made in ["/a", "/a-link", "/c/d", "/c/d-link"] {
            let path = bundle.rootfs(made);
            if !path.is_symlink() {
                let _ = fs::remove_dir_all(path.join("x"));
            }
        }
        run(world, &bundle)
    })
}

/// The same inside a volume that two containers share.
pub fn an_exchange_in_a_volume(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let volume = world.dir("volume");
    fs::create_dir(volume.join("dir")).unwrap();
    symlink(sentinel.dir(), volume.join("link")).unwrap();
    let mut bundle = world.bundle();
    bundle.bind(&volume, "/volume", &["rbind"]);
    bundle.bind(&world.dir("source"), "/volume/dir/new", &["bind"]);
    bundle.mount(json!({ "destination": "/volume/dir", "type": "tmpfs", "source": "tmpfs" }));
    bundle.inspector("read /volume/dir/file -- read /volume/link/file");
    race(&sentinel, &[(volume.join("dir"), volume.join("link"))], || run(world, &bundle))
}

/// /dev, where nodes and links are made.
pub fn an_exchanged_dev(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let mut bundle = world.bundle();
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    let pair = pair(&bundle, &sentinel, "/dev");
    let device = json!({ "path": "/dev/deep/node", "type": "c", "major": 1, "minor": 3 });
    bundle.set("/linux/devices", json!([device])).set("/root/readonly", false);
    bundle.inspector("read /dev/file");
    race(&sentinel, &[pair], || run(world, &bundle))
}

/// /proc, and what is masked and read-only.
pub fn an_exchanged_proc(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let mut bundle = world.bundle();
    let places = ["/proc", "/masked", "/protected", "/kernel"];
    let pairs = places.map(|inside| pair(&bundle, &sentinel, inside));
    for (destination, kind) in [("/kernel/new/proc", "proc"), ("/kernel/new/sys", "sysfs")] {
        bundle.mount(json!({ "destination": destination, "type": kind, "source": kind }));
    }
    bundle.set("/linux/maskedPaths", json!(["/masked", "/masked/file", "/proc/kcore"]));
    bundle.set("/linux/readonlyPaths", json!(["/protected", "/protected/inner", "/proc/sys"]));
    bundle.set("/root/readonly", false);
    bundle.inspector(
        "write /protected/file changed -- write /masked/file changed -- read /protected/file",
    );
    race(&sentinel, &pairs, || run(world, &bundle))
}

/// The working directory, and the file that names the home directory.
pub fn an_exchanged_working_directory(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let mut bundle = world.bundle();
    bundle.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    symlink(sentinel.dir().join("file"), bundle.rootfs("/etc/other")).unwrap();
    let work = pair(&bundle, &sentinel, "/work");
    let passwd = (bundle.rootfs("/etc/passwd"), bundle.rootfs("/etc/other"));
    bundle.set("/process/cwd", "/work/new/deep").set("/root/readonly", false);
    bundle.inspector("read ../../file -- read ../../../file -- report");
    race(&sentinel, &[work, passwd], || run(world, &bundle))
}

/// What `exec` looks up in a container that runs: the working directory is now
/// and then what a careless caller has open, the file that names the home
/// directory a FIFO.
pub fn an_exchange_during_exec(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let bundle = world.bundle();
    bundle.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    make_fifo(&bundle.rootfs("/etc/other"));
    let passwd = (bundle.rootfs("/etc/passwd"), bundle.rootfs("/etc/other"));
    let work = (bundle.mkdir("/work"), bundle.rootfs("/work-link"));
    symlink("/proc/self/fd/7", &work.1).unwrap();
    let container = world.serve(&bundle);
    race(&sentinel, &[work, passwd], || {
        let exec = container.exec(&["--cwd", "/work"], "read file -- read ../file -- report");
        exec.before(&careless(&sentinel)).timeout(LIMIT).output()
    })
}
