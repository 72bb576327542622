//! How: giving a cgroup its controllers, and setting its files.

use super::directory::{CgroupDir, ancestors_below};
use super::{Current, IfMissing, Placement, Setting};
use crate::error::{Context, Error, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A controller that a limit needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Its name.
    pub controller: String,
    /// JSON pointer to the limit.
    pub pointer: String,
}

impl Need {
    /// What a setting needs.
    pub fn of(setting: &Setting) -> Option<Self> {
        let controller = setting.controller()?.to_owned();
        Some(Self { controller, pointer: setting.pointer.clone() })
    }
}

/// Why a cgroup's children do not have a controller.
struct Refusal {
    controller: String,
    directory: PathBuf,
    /// `None`: the directory has not got it itself.
    errno: Option<Errno>,
}

impl CgroupDir {
    /// Enables `wanted` controllers downwards, from the root of the hierarchy
    /// to this cgroup. Engines and their tools read the accounting of all, so
    /// all are wanted; only those that a limit needs must be there. `fresh` is
    /// the topmost directory that was made just now: those from there on have
    /// neither controllers for their children nor processes.
    pub fn enable(
        &self,
        placement: &Placement,
        fresh: Option<&Path>,
        wanted: &[String],
        needed: &[Need],
    ) -> Result<()> {
        let path = placement.directory();
        let mut missing = wanted.to_vec();
        if fresh.is_none_or(|fresh| fresh == path) {
            self.forget_present(&mut missing)?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        // What a cgroup lacks, its parent has to give, up to one that has all.
        let is_fresh = |directory: &Path| fresh.is_some_and(|fresh| directory.starts_with(fresh));
        let mut lacking = missing.clone();
        let mut steps = Vec::new();
        let upwards = path.ancestors().skip(1);
        for ancestor in upwards.take_while(|path| path.starts_with(&placement.hierarchy)) {
            steps.push((ancestor, lacking.clone()));
            if !is_fresh(ancestor) {
                forget(&mut lacking, &controllers_at(ancestor).unwrap_or_default());
            }
            if lacking.is_empty() {
                break;
            }
        }
        let mut refusals = Vec::new();
        for (ancestor, lacking) in steps.into_iter().rev() {
            enable_below(ancestor, is_fresh(ancestor), lacking, &mut refusals);
        }
        if needed.is_empty() {
            return Ok(());
        }
        self.forget_present(&mut missing)?;
        let Some(need) = needed.iter().find(|need| missing.contains(&need.controller)) else {
            return Ok(());
        };
        let refusal = refusals.iter().find(|refusal| refusal.controller == need.controller);
        Err(not_delegated(need, refusal, &path).at(need.pointer.clone()))
    }

    fn forget_present(&self, controllers: &mut Vec<String>) -> Result<()> {
        forget(controllers, &self.read("cgroup.controllers")?);
        Ok(())
    }

    /// Makes a setting.
    pub fn set(&self, setting: &Setting) -> Result<()> {
        if setting.check_usage {
            self.check_usage(setting)?;
        }
        let refused = match self.write(&setting.file, &setting.value) {
            // What is missing may be missing for one device alone.
            Err(errno @ (Errno::NOENT | Errno::OPNOTSUPP)) => match &setting.if_missing {
                IfMissing::Skip => Ok(()),
                IfMissing::Write { file, value } => self.write(file, value),
                IfMissing::Fail => Err(errno),
            },
            written => written,
        };
        refused.map_err(|errno| self.explain_refusal(setting, errno))
    }

    /// What limits are set that others depend on.
    pub fn current(&self) -> Current {
        let read = |file: &str| self.read(file).unwrap_or_default();
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let bandwidth = read("cpu.max");
        let mut words = bandwidth.split_whitespace();
        let quota = words.next().and_then(number);
        let period = words.next().and_then(number).unwrap_or(Current::default().period);
        Current {
            memory: number(&read("memory.max")),
            swap: number(&read("memory.swap.max")),
            quota,
            period,
        }
    }

    /// The present value that a setting is going to replace, as a setting.
    /// None for a file with a line for each device: its lines are apart.
    pub fn present(&self, setting: &Setting) -> Option<Setting> {
        let text = self.read(&setting.file).ok()?;
        let value = text.strip_suffix('\n').filter(|line| !line.contains('\n'))?;
        let by_device = ["io.", "rdma."].iter().any(|prefix| setting.file.starts_with(prefix));
        let old = Setting { value: value.to_owned(), check_usage: false, ..setting.clone() };
        (!by_device).then_some(old)
    }

    /// A limit below what is in use would have the kernel kill.
    fn check_usage(&self, setting: &Setting) -> Result<()> {
        let usage = self.read("memory.current")?;
        match (usage.trim().parse::<u64>(), setting.value.parse::<u64>()) {
            (Ok(usage), Ok(limit)) if usage > limit => {
                Err(Error::new(format!("rejecting memory limit {limit}: {usage} bytes are in use"))
                    .hint("memory.checkBeforeUpdate asks for this check"))
            }
            _ => Ok(()),
        }
    }

    /// Writes a file of the cgroup.
    pub(super) fn write(&self, file: &str, value: &str) -> rustix::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self, file, flags, Mode::empty())?;
        rustix::io::retry_on_intr(|| rustix::io::write(&fd, value.as_bytes())).map(drop)
    }

    fn explain_refusal(&self, setting: &Setting, errno: Errno) -> Error {
        let error = Error::os(format!("cannot set {} to {}", setting.file, setting.value), errno);
        match errno {
            Errno::NOENT if setting.file.starts_with("hugetlb.") => error.hint(format!(
                "the sizes of huge pages here are {}",
                self.huge_page_sizes().join(", ")
            )),
            Errno::NOENT => error.hint("this kernel has no such file for a cgroup"),
            Errno::INVAL | Errno::RANGE | Errno::OVERFLOW => {
                error.hint("the kernel does not take this value")
            }
            Errno::NODEV | Errno::NXIO => error.hint("there is no such device"),
            Errno::OPNOTSUPP if setting.file.ends_with("weight") => {
                error.hint("nothing weighs this device's requests: give it the scheduler bfq, or enable it in io.cost.qos of the root cgroup")
            }
            Errno::BUSY => error.hint("the cgroup's processes or children are in the way"),
            Errno::PERM | Errno::ACCESS | Errno::ROFS => {
                error.hint("the cgroup belongs to somebody else, or is mounted read-only")
            }
            _ => error,
        }
    }

    /// Sizes of huge pages that the kernel counts for the cgroup.
    pub(super) fn huge_page_sizes(&self) -> Vec<String> {
        let directory = rustix::fs::Dir::read_from(self).into_iter().flatten().flatten();
        let sizes = directory.filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.strip_prefix("hugetlb.")?.split_once('.')? {
                (size, "max") => Some(size.to_owned()),
                _ => None,
            }
        });
        sizes.collect()
    }
}

/// The controllers of a cgroup, as the kernel lists them.
pub fn controllers_at(directory: &Path) -> Result<String> {
    read_at(CWD, directory.join("cgroup.controllers"))
}

/// Reads a short file with one read(2).
fn read_at(directory: impl AsFd, file: impl AsRef<Path>) -> Result<String> {
    let file = file.as_ref();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(directory, file, flags, Mode::empty())
        .os(|| format!("cannot open {}", file.display()))?;
    let mut text = Vec::with_capacity(256);
    let read = || rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut text));
    rustix::io::retry_on_intr(read).os(|| format!("cannot read {}", file.display()))?;
    String::from_utf8(text).map_err(|_| Error::new(format!("{} is no text", file.display())))
}

/// Removes the names that a line of them has.
fn forget(names: &mut Vec<String>, line: &str) {
    names.retain(|name| !line.split_whitespace().any(|word| word == name));
}

/// Enables what the children of `directory` lack, one by one, so that a
/// refused one does not hold up the others.
fn enable_below(
    directory: &Path,
    is_fresh: bool,
    lacking: Vec<String>,
    refusals: &mut Vec<Refusal>,
) {
    let control = directory.join("cgroup.subtree_control");
    let busy = !is_fresh && is_busy(directory);
    for controller in lacking {
        let written = match busy {
            true => Err(Errno::BUSY),
            false => std::fs::write(&control, format!("+{controller}"))
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        if let Err(errno) = written {
            // ENOENT: it has not got the controller itself.
            let errno = (errno != Errno::NOENT).then_some(errno);
            refusals.push(Refusal { controller, directory: directory.to_owned(), errno });
        }
    }
}

/// Why the kernel puts no process into a cgroup (`EOPNOTSUPP`): one above it
/// takes part in a threaded subtree (the kernel's cgroup-v2.rst, "Threads").
pub fn explain_type(placement: &Placement) -> Error {
    let path = placement.directory();
    let kind = |directory: &Path| read_at(CWD, directory.join("cgroup.type")).unwrap_or_default();
    let message = format!("cannot place init in cgroup {}", path.display());
    let error = Error::os(message, Errno::OPNOTSUPP).at("/linux/cgroupsPath");
    let above = ancestors_below(&placement.hierarchy, &path);
    match above.iter().rev().find(|above| kind(above).trim_end() == "domain threaded") {
        Some(above) => error.hint(format!(
            "{0} has processes of its own and controllers enabled for its children, which makes it a threaded domain: move the processes to a child of {0}, or choose a cgroupsPath elsewhere",
            above.display()
        )),
        None => error.hint(format!("its cgroup.type is \"{}\"", kind(&path).trim_end())),
    }
}

/// Whether a cgroup other than the root has processes of its own. The kernel
/// would still enable some controllers, and make a threaded domain of it, in
/// which no container can be (the kernel's cgroup-v2.rst, "Threads").
fn is_busy(directory: &Path) -> bool {
    let has_processes =
        read_at(CWD, directory.join("cgroup.procs")).is_ok_and(|pids| !pids.is_empty());
    // The root has no type.
    has_processes && directory.join("cgroup.type").exists()
}

fn not_delegated(need: &Need, refusal: Option<&Refusal>, path: &Path) -> Error {
    let controller = &need.controller;
    let Some(Refusal { directory, errno, .. }) = refusal else {
        return Error::new(format!("cgroup {} has no {controller} controller", path.display()))
            .hint("another process has taken it away: try again");
    };
    let place = directory.display();
    let message = format!("cgroup {place} does not delegate the {controller} controller");
    let Some(errno) = errno else {
        return Error::new(message).hint(format!("it has not got it itself: {controller} must be in the cgroup.subtree_control of its parent; under systemd, with Delegate={controller} for the unit"));
    };
    let error = Error::os(message, *errno);
    match *errno {
        Errno::BUSY => error.hint(format!("it has processes of its own: move them to a child, or choose a cgroupsPath elsewhere; then echo +{controller} > {place}/cgroup.subtree_control")),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => error.hint(format!("as root: echo +{controller} > {place}/cgroup.subtree_control; under systemd, Delegate={controller} for the unit")),
        _ => error.hint(format!("echo +{controller} > {place}/cgroup.subtree_control shows the same refusal")),
    }
}

impl CgroupDir {
    /// Opens a file of the cgroup for reading.
    pub fn open_file(&self, file: &str) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(self, file, flags, Mode::empty()).os(|| format!("cannot open {file}"))
    }

    /// Reads a file of a few words with one read(2).
    pub fn read(&self, file: &str) -> Result<String> {
        read_at(self, file)
    }

    /// Reads a file of any length.
    pub(super) fn read_long(&self, file: &str) -> Result<String> {
        let fd = self.open_file(file)?;
        std::io::read_to_string(std::fs::File::from(fd)).os(|| format!("cannot read {file}"))
    }
}
