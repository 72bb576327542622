//! How: setting the attributes of the process and executing the program.

use super::attributes::{Op, Process, Rlimit, User, rlimit_list};
use super::capabilities;
use super::diagnose;
use super::schedule;
use crate::error::{Context, Error, Result};
use crate::namespaces::{self, IdKind, id_refused};
use crate::sys::{self, Execution};
use crate::weaken::{Defence, lacks};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What the steps of the process share.
#[derive(Debug, Default)]
pub struct Preparation {
    /// The program, once it is found, and what it is executed with.
    program: Option<(PathBuf, Execution)>,
    /// The working directory was out of the runtime's reach.
    cwd_refused: bool,
}

impl Op {
    /// Does the step, as init.
    pub fn apply(&self, process: &Process, shared: &mut Preparation) -> Result<()> {
        match self {
            Op::OomScoreAdj(value) => {
                set_oom_score_adj(Path::new("/proc/self/oom_score_adj"), *value)
            }
            Op::Label(attribute) => attribute.apply(),
            Op::SessionKeyring(name) => join_session_keyring(name),
            Op::Scheduler(scheduler) => scheduler.apply(),
            Op::IoPriority(priority) => priority.apply(),
            Op::MemoryPolicy(policy) => policy.apply(),
            Op::Personality(persona) => set_personality(*persona),
            Op::Rlimits(limits) => set_rlimits(None, limits),
            Op::Affinity(list) => schedule::set_affinity(list.as_deref()),
            Op::ResetSignals => reset_signals(),
            Op::NoNewPrivileges => {
                rustix::thread::set_no_new_privs(true).os(|| "cannot set no_new_privs")
            }
            Op::BoundingSet(sets) => capabilities::limit_bounding_set(sets.bounding),
            Op::User(user) => become_user(user),
            Op::Capabilities { sets, until_execve } => capabilities::apply(sets, *until_execve),
            Op::EnterCwd(path) => shared.enter_cwd(path),
            Op::CheckCwd(path) => shared.check_cwd(path),
            Op::Umask(mask) => {
                rustix::process::umask(Mode::from_raw_mode(*mask));
                Ok(())
            }
            Op::FindExecutable => shared.find(process),
            Op::Execute => Err(shared.execute(process)),
        }
    }
}

/// Writes an OOM score; a value that is already there needs no privilege.
pub fn set_oom_score_adj(path: &Path, value: i32) -> Result<()> {
    let written = std::fs::write(path, value.to_string());
    let Err(error) = written else { return Ok(()) };
    let present = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    if present == Some(value) {
        return Ok(());
    }
    let message = format!("cannot set oom_score_adj {value}");
    Err(Error::os(message, error).hint("lowering it needs CAP_SYS_RESOURCE"))
}

/// Sets resource limits of this process, or of another one.
pub fn set_rlimits(pid: Option<i32>, limits: &[Rlimit]) -> Result<()> {
    let pid = pid.and_then(rustix::process::Pid::from_raw);
    for limit in limits {
        sys::prlimit(pid, limit.resource, limit.soft, limit.hard).map_err(|errno| {
            let error = Error::os(format!("cannot set {}", rlimit_list(std::slice::from_ref(limit))), errno);
            match errno {
                Errno::PERM => error.hint("raising a hard limit needs CAP_SYS_RESOURCE, and nofile cannot exceed fs.nr_open"),
                _ => error,
            }
        })?;
    }
    Ok(())
}

/// A keyring of the container's own: it neither sees the caller's keys nor
/// keeps them alive (session-keyring(7)).
fn join_session_keyring(name: &str) -> Result<()> {
    let name = CString::new(name).map_err(|_| Error::new("keyring name contains a NUL byte"))?;
    match sys::join_session_keyring(&name) {
        // A kernel without keyrings, or a sandbox around hako that forbids them.
        Ok(()) | Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(errno) => {
            let error = Error::os("cannot make a session keyring", errno);
            Err(match errno {
                Errno::DQUOT => error.hint(
                    "raise kernel.keys.maxkeys and kernel.keys.maxbytes, or use --no-new-keyring",
                ),
                _ => error,
            })
        }
    }
}

fn set_personality(persona: u64) -> Result<()> {
    let persona = nix::sys::personality::Persona::from_bits_retain(persona as i32);
    nix::sys::personality::set(persona).map(drop).os(|| "cannot set the personality")
}

/// Nothing that the caller had ignored or blocked reaches the program.
fn reset_signals() -> Result<()> {
    sys::reset_signals(ignored_signals()).os(|| "cannot reset signals")
}

/// Which signals are ignored (bit n - 1 is signal n), as the process's status says;
/// where that cannot be read, all may be.
pub fn ignored_signals() -> u64 {
    const DIGITS: usize = 16;
    let mut buffer = [0; 4096];
    let length =
        rustix::fs::open("/proc/self/status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| rustix::io::read(file, &mut buffer))
            .unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length])
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        // A member of many groups has a status that does not fit.
        .filter(|mask| mask.trim().len() == DIGITS)
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(u64::MAX)
}

/// Supplementary groups, group, user; permitted capabilities survive. The
/// kernel takes them from who ceases to be root (capabilities(7)).
fn become_user(user: &User) -> Result<()> {
    own_standard_streams(user);
    if user.uid != 0 {
        rustix::thread::set_keep_capabilities(true).os(|| "cannot keep capabilities")?;
    }
    user.additional_gids.as_ref().map_or(Ok(()), |gids| set_groups(gids))?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(|errno| id_refused(IdKind::Group, user.gid, errno).at("/process/user/gid"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .map_err(|errno| id_refused(IdKind::User, user.uid, errno).at("/process/user/uid"))
}

/// Sets the supplementary groups of this process. In a user namespace that denies
/// setgroups(2) nobody can gain or drop any; the plan knows it of all but those that
/// are joined, where no groups are then what there is.
pub fn set_groups(gids: &[u32]) -> Result<()> {
    let groups: Vec<Gid> = gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        Err(Errno::PERM) if namespaces::own_map(IdKind::Group).is_empty() => {
            let message = "cannot set supplementary groups: the user namespace maps no group";
            Err(Error::os(message, Errno::PERM)
                .hint("have whoever made that namespace write its gid_map first"))
        }
        Err(Errno::PERM) if gids.is_empty() && denies_setgroups() => Ok(()),
        Err(Errno::PERM) if denies_setgroups() => {
            let message = "cannot set supplementary groups: the user namespace denies it";
            Err(Error::os(message, Errno::PERM)
                .at("/process/user/additionalGids")
                .hint("leave them out; whoever made that namespace could map no group but their own"))
        }
        Err(errno) if gids.is_empty() => {
            Err(Error::os("cannot drop the caller's supplementary groups", errno)
                .hint("that takes CAP_SETGID; with the annotation run.oci.keep_original_groups=1 the container keeps them"))
        }
        Err(Errno::INVAL) => Err(unmapped_group(gids)),
        result => result.os(|| format!("cannot set supplementary groups {gids:?}")),
    }
}

/// The kernel does not say which.
fn unmapped_group(gids: &[u32]) -> Error {
    let map = namespaces::own_map(IdKind::Group);
    let found = gids.iter().enumerate().find(|(_, gid)| !namespaces::is_mapped(&map, **gid));
    match found {
        Some((index, gid)) => id_refused(IdKind::Group, *gid, Errno::INVAL)
            .at(format!("/process/user/additionalGids/{index}")),
        None => Error::os(format!("cannot set supplementary groups {gids:?}"), Errno::INVAL)
            .hint("each has to be mapped in the user namespace"),
    }
}

/// Whether the user namespace of this process denies setgroups(2)
/// (user_namespaces(7)).
pub fn denies_setgroups() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|word| word.starts_with(b"deny"))
}

/// The process may reopen its standard streams as /dev/stdout and the like,
/// which asks for permission on the pipe or terminal behind them. Best effort:
/// they may be somebody else's files.
fn own_standard_streams(user: &User) {
    let streams = (rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr());
    for stream in [streams.0, streams.1, streams.2] {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        let is_terminal = kind.is_char_device()
            && stat.st_rdev != rustix::fs::makedev(1, 3)
            && rustix::termios::isatty(stream);
        let is_ours = kind.is_fifo() || kind.is_socket() || is_terminal;
        if is_ours && stat.st_uid != user.uid {
            let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(user.uid)), None);
        }
    }
}

impl Preparation {
    fn enter_cwd(&mut self, path: &Path) -> Result<()> {
        match rustix::process::chdir(path) {
            Err(Errno::ACCESS) => {
                self.cwd_refused = true;
                Ok(())
            }
            result => result.os(|| format!("cannot chdir to cwd {:?}", path.display())),
        }
    }

    /// A path such as /proc/self/fd/7 could lead to a descriptor of the host.
    fn check_cwd(&self, path: &Path) -> Result<()> {
        if self.cwd_refused {
            rustix::process::chdir(path).map_err(|errno| {
                Error::os(format!("cannot chdir to cwd {:?}", path.display()), errno)
                    .hint("process.user must have permission to enter the directory")
            })?;
        }
        if path == Path::new("/") || lacks(Defence::Cwd) {
            // Wherever the root is, it is inside.
            return Ok(());
        }
        let reached =
            rustix::process::getcwd(Vec::new()).os(|| "cannot read the working directory")?;
        if reached.as_bytes().first() != Some(&b'/') {
            return Err(Error::new(
                "current working directory is outside of container mount namespace root",
            )
            .hint("process.cwd must name a directory inside the rootfs"));
        }
        Ok(())
    }

    /// Looks the program up with the ids and in the root that will execute it.
    fn find(&mut self, process: &Process) -> Result<()> {
        let mut env = [process.env.as_slice(), &process.supervision].concat();
        // Empty, it is as good as none: shells and ssh look for files there.
        env.retain(|variable| variable != "HOME=");
        if !env.iter().any(|variable| variable.starts_with("HOME=")) {
            env.push(format!("HOME={}", home_directory(process.user.uid)));
        }
        let path = env.iter().rev().find_map(|variable| variable.strip_prefix("PATH="));
        let name = process.args.first().map_or("", String::as_str);
        let program = diagnose::find_executable(name, path, &process.cwd)?;
        let strings = |list: &[String]| -> Result<Vec<CString>> {
            list.iter()
                .map(|string| CString::new(string.as_str()))
                .collect::<Result<_, _>>()
                .map_err(|_| Error::new("an argument contains a NUL byte"))
        };
        let path = CString::new(program.as_os_str().as_encoded_bytes())
            .map_err(|_| Error::new("the program's path contains a NUL byte"))?;
        let execution = Execution::new(path, strings(&process.args)?, strings(&env)?);
        self.program = Some((program, execution));
        Ok(())
    }

    /// Executes the program. Returns only the reason why it could not.
    fn execute(&self, process: &Process) -> Error {
        let argument = process.args.first().map_or("", String::as_str);
        let Some((program, execution)) = &self.program else {
            return Error::new("process is missing: there is nothing to start").at("/process");
        };
        let errno = execution.execute();
        diagnose::explain(errno.raw_os_error(), program, argument)
    }
}

/// Longest /etc/passwd that is read: it is the image's, so it may be anything.
const PASSWD_LIMIT: u64 = 1 << 20;

/// The user's home directory by the container's own /etc/passwd, or `/`.
fn home_directory(uid: u32) -> String {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let found = rustix::fs::openat(CWD, "/etc/passwd", flags, Mode::empty())
        .ok()
        .and_then(|fd| home_in_passwd(fd, uid));
    found.unwrap_or_else(|| "/".to_owned())
}

fn home_in_passwd(fd: OwnedFd, uid: u32) -> Option<String> {
    let stat = rustix::fs::fstat(&fd).ok()?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return None;
    }
    let mut text = Vec::new();
    let mut limited = std::io::Read::take(std::fs::File::from(fd), PASSWD_LIMIT);
    std::io::Read::read_to_end(&mut limited, &mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let matches = fields.get(2)?.parse() == Ok(uid);
        let home = *fields.get(5)?;
        (matches && home.starts_with('/') && !home.contains('\0')).then(|| home.to_owned())
    })
}
