//! Images with FIFOs, devices and files without an end where a runtime looks
//! for something else. To open one can be to wait for ever.

use super::Harm;
use super::links::{bundle, bundle_without_dev};
use hako_integration::{Bundle, Runtime, Terminal, json};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

/// How long a runtime may take that has not been stopped.
pub const LIMIT: Duration = Duration::from_secs(10);

pub fn make_fifo(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
}

/// A FIFO in a root file system that tells whether somebody had its other end
/// open.
struct Trap(OwnedFd);

impl Trap {
    fn set(bundle: &Bundle, inside: &str) -> Self {
        let path = bundle.rootfs(inside);
        make_fifo(&path);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Self(rustix::fs::open(&path, flags, Mode::empty()).unwrap())
    }

    fn sprung(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
        fds[0].revents().contains(PollFlags::HUP)
    }
}

/// /etc/passwd, where the home directory stands, is a FIFO, a device without an
/// end, or huge: whoever reads it carelessly waits for ever, or dies.
pub fn a_passwd_that_is_no_file(world: &Runtime) -> Harm {
    let kinds: [&dyn Fn(&Path); 3] =
        [&make_fifo, &|path| symlink("/dev/zero", path).unwrap(), &|path| {
            fs::File::create(path).unwrap().set_len(1 << 40).unwrap()
        }];
    for kind in kinds {
        for file in ["/etc/passwd", "/etc/group"] {
            let mut bundle = bundle(world);
            bundle.mkdir("/etc");
            kind(&bundle.rootfs(file));
            let command = world.on_bundle(&["run"], bundle.inspector("print ran")).timeout(LIMIT);
            let output = world.finish(command, &bundle);
            if output.stdout != "ran\n" {
                return vec![format!("{file} ends it: {output}")];
            }
            let container = world.serve(&bundle);
            let _ = container.exec(&["--user", "1000"], "print ran").timeout(LIMIT).output();
        }
    }
    Vec::new()
}

/// The image has something else where devpts has its multiplexer, and nothing
/// is mounted there: a device of the host would be opened with its privileges.
pub fn a_ptmx_of_the_image(world: &Runtime) -> Harm {
    let mut bundle = bundle_without_dev(world);
    let trap = Trap::set(&bundle, "/dev/pts/ptmx");
    bundle.set("/process/terminal", true).inspector("print ran");
    let terminal = Terminal::open();
    let command = world.on_bundle(&["run"], &bundle).on_terminal(&terminal);
    let _ = world.finish(command, &bundle);
    let container = world.serve(bundle.set("/process/terminal", false));
    let _ = container.exec(&["--tty"], "print ran").on_terminal(&terminal).output();
    trap.sprung().then(|| "a file of the image was opened".to_owned()).into_iter().collect()
}

/// Where a FIFO is, and what makes the runtime go there.
type Place<'a> = (&'static str, &'a dyn Fn(&mut Bundle));

/// FIFOs where things are mounted, masked, made read-only, made and entered.
pub fn fifos_at_every_place(world: &Runtime) -> Harm {
    let file = world.file("source-file", "mine");
    let places: [Place; 8] = [
        ("/fifo", &|bundle| drop(bundle.bind(&file, "/fifo", &["bind"]))),
        ("/fifo", &|bundle| drop(bundle.bind(&file, "/fifo", &["bind", "ro"]))),
        ("/fifo", &|bundle| {
            drop(
                bundle.mount(json!({ "destination": "/fifo", "type": "tmpfs", "source": "tmpfs" })),
            )
        }),
        ("/fifo", &|bundle| {
            bundle.set("/linux/maskedPaths", json!(["/fifo", "/fifo/below"]));
        }),
        ("/fifo", &|bundle| {
            bundle.set("/linux/readonlyPaths", json!(["/fifo"]));
        }),
        ("/fifo", &|bundle| {
            bundle.set("/process/cwd", "/fifo");
        }),
        ("/dev/console", &|bundle| {
            bundle.set("/process/terminal", true);
        }),
        ("/dev/null", &|bundle| {
            bundle.set("/linux/maskedPaths", json!(["/bin"]));
        }),
    ];
    let mut harm = Vec::new();
    for (number, (inside, place)) in places.into_iter().enumerate() {
        let mut bundle = bundle_without_dev(world);
        bundle.mkdir("/dev/pts");
        bundle.mount(json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts" }));
        let trap = Trap::set(&bundle, inside);
        place(bundle.inspector("ls /"));
        let terminal = Terminal::open();
        let command = world.on_bundle(&["run"], &bundle).on_terminal(&terminal).timeout(LIMIT);
        let _ = world.finish(command, &bundle);
        if trap.sprung() {
            harm.push(format!("{inside} was opened, place {number}"));
        }
    }
    harm
}
