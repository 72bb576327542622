//! What a measurement runs on: a private place for mounts, cgroups and files, and one bundle for
//! each runtime and purpose.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::subject::LIMITED;
use crate::{Result, sys};

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const FLOOR: &str = include_str!("../floor.c");
const CONFIG: &str = include_str!("../config.json");
/// What docker asks for.
const DOCKER: &str = include_str!("../../bundles/docker-01.json");

pub struct Fixture {
    /// A tmpfs, where a runtime's state directory is on most machines.
    pub dir: PathBuf,
    /// The cgroup below which all containers are, as in `cgroupsPath`. Never empty: such a path may
    /// mean the caller's own.
    pub cgroup: String,
}

impl Fixture {
    pub fn new() -> Result<Fixture> {
        if !sys::is_root() {
            return Err("namespaces, mounts and cgroups need root: run it with sudo".into());
        }
        let name = format!("hako-bench-{}", std::process::id());
        sys::own_mount_namespace().map_err(|e| format!("cannot have mounts of my own: {e}"))?;
        let fixture = Fixture { dir: std::env::temp_dir().join(&name), cgroup: format!("/{name}") };
        match fixture.prepare() {
            Ok(()) => Ok(fixture),
            Err(error) => {
                fixture.remove();
                Err(error)
            }
        }
    }

    fn prepare(&self) -> Result<()> {
        let root = Path::new(CGROUP_ROOT);
        // A host with cgroup v1 has cgroup v2 elsewhere; the runtimes look for it here.
        if !sys::is_cgroup2(root) {
            sys::mount("cgroup2", root)
                .map_err(|e| format!("cannot mount cgroup2 over {CGROUP_ROOT}: {e}"))?;
        }
        fs::create_dir(self.cgroup_dir())?;
        fs::create_dir(&self.dir)?;
        sys::mount("tmpfs", &self.dir)?;
        for dir in ["bin", "proc", "dev", "sys"] {
            fs::create_dir_all(self.rootfs().join(dir))?;
        }
        Ok(())
    }

    /// Compiles what runs in the containers and what they are compared with, or takes what was
    /// compiled before.
    pub fn build(&self, programs: Option<&Path>) -> Result<()> {
        match programs {
            None => compile_all(&self.dir)?,
            Some(programs) => {
                for name in PROGRAMS {
                    fs::copy(programs.join(name), self.dir.join(name))
                        .map_err(|e| format!("{}: {e}", programs.join(name).display()))?;
                }
            }
        }
        for name in ["true", "pause"] {
            fs::rename(self.dir.join(name), self.rootfs().join("bin").join(name))?;
        }
        Ok(())
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    pub fn cgroup_dir(&self) -> PathBuf {
        PathBuf::from(format!("{CGROUP_ROOT}{}", self.cgroup))
    }

    /// Whether limits can be set here.
    fn has_controllers() -> Result<bool> {
        let controllers = fs::read_to_string(format!("{CGROUP_ROOT}/cgroup.controllers"))?;
        let has = |name: &str| controllers.split_whitespace().any(|controller| controller == name);
        Ok(["memory", "cpu", "pids"].into_iter().all(has))
    }

    /// What the limits are that are measured here.
    pub fn about_limits(&self) -> Result<String> {
        Ok(format!(
            "{LIMITED}: {}",
            match Self::has_controllers()? {
                true => "`docker run --memory --cpus --cpu-shares --pids-limit`",
                false =>
                    "cgroup v1 has the controllers here; five files that every cgroup has stand in for their limits",
            }
        ))
    }

    /// The same with the limits that `docker run --memory --cpus --pids-limit` sets. Where cgroup v1
    /// has the controllers, as many files that cgroup v2 has anyway stand in for theirs.
    pub fn limited_bundle(&self, id: &str, command: &str) -> Result<PathBuf> {
        let has_controllers = Self::has_controllers()?;
        self.changed_bundle(id, command, |config| {
            let resources = &mut config["linux"]["resources"];
            if has_controllers {
                resources["memory"] = serde_json::json!({ "limit": 512 << 20, "swap": 1024 << 20 });
                resources["cpu"] =
                    serde_json::json!({ "shares": 512, "quota": 150_000, "period": 100_000 });
                resources["pids"] = serde_json::json!({ "limit": 100 });
            } else {
                resources["unified"] = serde_json::json!({
                    "cgroup.max.depth": "9\n8\n7", "cgroup.max.descendants": "9\n8",
                });
            }
        })
    }

    /// The same with docker's seccomp profile.
    pub fn filtered_bundle(&self, id: &str, command: &str) -> Result<PathBuf> {
        let mut docker: serde_json::Value = serde_json::from_str(DOCKER)?;
        self.changed_bundle(id, command, |config| {
            config["linux"]["seccomp"] = docker["linux"]["seccomp"].take();
        })
    }

    fn changed_bundle(
        &self,
        id: &str,
        command: &str,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Result<PathBuf> {
        let bundle = self.bundle(id, command)?;
        let file = bundle.join("config.json");
        let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
        change(&mut config);
        fs::write(&file, config.to_string())?;
        Ok(bundle)
    }

    /// The default bundle, with `command` as its process.
    pub fn bundle(&self, id: &str, command: &str) -> Result<PathBuf> {
        let mut config: serde_json::Value = serde_json::from_str(CONFIG)?;
        config["process"]["args"] = serde_json::json!([command]);
        config["root"]["path"] = self.rootfs().to_str().into();
        config["linux"]["cgroupsPath"] = format!("{}/{id}", self.cgroup).into();
        let bundle = self.dir.join("bundles").join(id);
        fs::create_dir_all(&bundle)?;
        fs::write(bundle.join("config.json"), config.to_string())?;
        Ok(bundle)
    }

    /// A command with nothing of the caller's environment that could make a difference, and its
    /// errors in a file: a container that is left running would hold a pipe open.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(program);
        let errors = File::options().create(true).append(true).open(self.errors())?;
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        Ok(command)
    }

    pub fn errors(&self) -> PathBuf {
        self.dir.join("errors")
    }

    /// Ends and removes everything, also after the measuring process was killed: all that it
    /// started are our children by then, and theirs become ours when they end.
    pub fn remove(self) {
        let cgroup = self.cgroup_dir();
        loop {
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
            let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).for_each(sys::kill);
            if sys::wait(-1).is_err() {
                break;
            }
        }
        for child in fs::read_dir(&cgroup).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(child.path());
        }
        match fs::remove_dir(&cgroup) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                eprintln!("hako-bench: {} is left: {error}", cgroup.display());
            }
            _ => {}
        }
        let _ = sys::unmount(&self.dir);
        let _ = fs::remove_dir(&self.dir);
    }
}

const PROGRAMS: [&str; 4] = ["true", "pause", "floor", "bare"];

/// Compiles all programs into a directory.
pub fn compile_all(directory: &Path) -> Result<()> {
    const TRUE: &str = "int main(void) { return 0; }";
    const PAUSE: &str = "#include <unistd.h>\nint main(void) { for (;;) pause(); }";
    let sources: [(&str, &[&str]); 4] =
        [(TRUE, &[]), (PAUSE, &[]), (FLOOR, &[]), (FLOOR, &["-DBARE"])];
    for (name, (source, flags)) in PROGRAMS.into_iter().zip(sources) {
        compile(source, flags, &directory.join(name))?;
    }
    Ok(())
}

fn compile(source: &str, flags: &[&str], output: &Path) -> Result<()> {
    use std::io::Write;
    let compiler = std::env::var("CC").unwrap_or("cc".into());
    let mut child = Command::new(&compiler)
        .args(["-O2", "-static", "-Wall", "-Wextra", "-xc", "-", "-o"])
        .arg(output)
        .args(flags)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot run the C compiler {compiler}: {e}"))?;
    child.stdin.take().ok_or("no pipe")?.write_all(source.as_bytes())?;
    if child.wait()?.success() { Ok(()) } else { Err(format!("{compiler} failed").into()) }
}
