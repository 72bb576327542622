//! What a case is given: a bundle, the runtime, and what it takes to see a container.

use crate::bundle::Bundle;
use crate::case::{Stop, Verdict, fail, skip};
use crate::command::{Command, Output};
use crate::container::{Container, Ran};
use crate::runtime::Runtime;
use rustix::mount::{MountFlags, mount};
use serde_json::Value;
use std::cell::RefCell;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The surroundings of one case.
pub struct Context {
    /// The bundle, with a configuration to edit.
    pub bundle: Bundle,
    /// The runtime under test.
    pub runtime: Rc<Runtime>,
    id: String,
    dir: PathBuf,
    inspector: PathBuf,
    /// Mounts that the case made itself.
    mounts: RefCell<Vec<PathBuf>>,
    /// Cgroups that the case made itself.
    cgroups: RefCell<Vec<PathBuf>>,
}

impl Context {
    /// A fresh bundle in `dir`, for a container with this id.
    pub fn new(runtime: Runtime, dir: &Path, inspector: &Path, id: &str) -> Result<Self, Stop> {
        let bundle = Bundle::make(dir.join("bundle"), inspector, &format!("/{id}"))?;
        Ok(Self {
            bundle,
            runtime: Rc::new(runtime),
            id: id.to_string(),
            dir: dir.to_path_buf(),
            inspector: inspector.to_path_buf(),
            mounts: RefCell::default(),
            cgroups: RefCell::default(),
        })
    }

    /// The id of the container.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The inspector as a program of the host, for hooks.
    pub fn inspector(&self) -> &Path {
        &self.inspector
    }

    /// The cgroup of the container, as configured.
    pub fn cgroup(&self) -> PathBuf {
        let path = self.bundle.get("/linux/cgroupsPath").as_str().unwrap_or_default();
        Path::new(crate::host::CGROUPS).join(path.trim_start_matches('/'))
    }

    /// `create` with the bundle, to be given more options.
    pub fn create_command(&self) -> Result<Command, Stop> {
        self.bundle.save()?;
        Ok(self.runtime.command(&["create", "--bundle"]).arg(self.bundle.dir()).id(&self.id))
    }

    /// `create`; on success a container to take care of.
    pub fn try_create(&self) -> Result<(Output, Option<Container>), Stop> {
        self.make(self.create_command()?)
    }

    /// Runs a prepared `create`.
    pub fn make(&self, command: Command) -> Result<(Output, Option<Container>), Stop> {
        let (pid_file, stdout) = (self.runtime.next_file(), command.stdout_path());
        let output = command.arg("--pid-file").arg(&pid_file).output()?;
        if !output.is_ok() {
            return Ok((output, None));
        }
        self.runtime.remember(&self.id);
        let text = fs::read_to_string(&pid_file).unwrap_or_default();
        let pid = text.trim().parse();
        let pid = pid.map_err(|_| fail("the pid of the container in --pid-file", &text))?;
        let container = Container::new(self.runtime.clone(), &self.id, pid, stdout);
        Ok((output, Some(container)))
    }

    /// `create`, which must succeed.
    pub fn create(&self) -> Result<Container, Stop> {
        self.expect_made(self.create_command()?)
    }

    /// Runs a prepared `create`, which must succeed.
    pub fn expect_made(&self, command: Command) -> Result<Container, Stop> {
        let (output, container) = self.make(command)?;
        container.ok_or_else(|| fail("`create` to succeed", output.ending()))
    }

    /// Runs the container to its end: create, start, wait, delete.
    pub fn run(&self) -> Result<Ran, Stop> {
        self.create()?.finish()
    }

    /// Runs a chain of inspector commands in a container; one value each.
    pub fn ask(&mut self, chain: &str) -> Result<Vec<Value>, Stop> {
        self.bundle.inspector(chain);
        let ran = self.run()?;
        let values = ran.values()?;
        if values.len() == chain.split(" -- ").count() {
            return Ok(values);
        }
        Err(fail(
            format!("the inspector to do: {chain}"),
            format!("{}, after {values:?}", ran.exit),
        ))
    }

    /// Runs a container that makes the inspector's full report.
    pub fn inspect(&mut self) -> Result<Value, Stop> {
        Ok(self.ask("report")?.swap_remove(0))
    }

    /// A created container whose inspector will answer [`Container::ask`] when started.
    pub fn create_server(&mut self) -> Result<Container, Stop> {
        self.bundle.inspector("serve");
        let (stdin, write) = std::io::pipe()?;
        let (read, stdout) = std::io::pipe()?;
        let command = self.create_command()?.stdin(stdin).stdout(stdout);
        Ok(self.expect_made(command)?.with_streams(write, read))
    }

    /// A running container whose inspector answers [`Container::ask`].
    pub fn serve(&mut self) -> Result<Container, Stop> {
        let mut container = self.create_server()?;
        container.start()?;
        container.answer()?;
        Ok(container)
    }

    /// The configuration must give an error: from `create`, or from `start` at the latest.
    pub fn refused(&self) -> Verdict {
        let (_, Some(mut container)) = self.try_create()? else { return Ok(()) };
        if !container.try_to("start")?.is_ok() {
            return Ok(());
        }
        let exit = container.wait()?;
        let got = format!("both succeeded; the container ended with {exit}");
        Err(fail("an error from `create` or `start`", got))
    }

    /// `create` must give an error.
    pub fn refused_by_create(&self) -> Verdict {
        let (output, container) = self.try_create()?;
        match container {
            None => Ok(()),
            Some(_) => output.fails().map(drop),
        }
    }

    /// A directory of the host for this case, with its parents.
    pub fn host_dir(&self, name: &str) -> Result<PathBuf, Stop> {
        let path = self.dir.join("host").join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A file of the host for this case.
    pub fn host_file(&self, name: &str, text: &str) -> Result<PathBuf, Stop> {
        let path = self.host_dir("")?.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A fresh tmpfs on a directory of the host for this case.
    pub fn host_tmpfs(&self, name: &str, flags: MountFlags) -> Result<PathBuf, Stop> {
        let path = self.host_dir(name)?;
        mount("tmpfs", &path, "tmpfs", flags, c"mode=0755")?;
        self.mounts.borrow_mut().push(path.clone());
        Ok(path)
    }

    /// A writable overlay over `lower`, on a directory of the host for this case.
    pub fn host_overlay(&self, name: &str, lower: &Path) -> Result<PathBuf, Stop> {
        let (path, layers) =
            (self.host_dir(name)?, self.host_tmpfs("layers", MountFlags::empty())?);
        let [upper, work] = ["upper", "work"].map(|layer| layers.join(layer));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        let [lower, upper, work] = [lower, &upper, &work].map(Path::display);
        let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let layers = CString::new(layers).map_err(std::io::Error::from)?;
        mount("overlay", &path, "overlay", MountFlags::empty(), layers.as_c_str())
            .map_err(|errno| skip(format!("this host mounts no overlay: {errno}")))?;
        self.mounts.borrow_mut().push(path.clone());
        Ok(path)
    }

    /// Hides a directory of the host behind an empty one.
    pub fn cover(&self, path: &str) -> Verdict {
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), c"mode=0755")?;
        self.mounts.borrow_mut().push(PathBuf::from(path));
        Ok(())
    }

    /// A cgroup for this case, below the root of its own hierarchy.
    pub fn make_cgroup(&self, name: &str) -> Result<PathBuf, Stop> {
        let path = Path::new(crate::host::CGROUPS).join(name);
        fs::create_dir(&path)?;
        self.cgroups.borrow_mut().push(path.clone());
        Ok(path)
    }

    /// Mounts that the case made itself.
    pub fn own_mounts(&self) -> Vec<PathBuf> {
        self.mounts.borrow().clone()
    }

    /// Cgroups that the case made itself.
    pub fn own_cgroups(&self) -> Vec<PathBuf> {
        self.cgroups.borrow().clone()
    }
}
