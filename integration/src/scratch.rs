//! A temporary directory in which a test may also mount things.

use crate::binaries::inspector;
use crate::host::{mount_table, protect_host, release_host};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, unmount};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A directory that is removed at the end of a test.
pub struct Scratch {
    path: PathBuf,
    mounted: Mutex<Vec<PathBuf>>,
    /// Nothing else of the host can be written to.
    alone: bool,
}

impl Scratch {
    /// Makes the directory. Users of a user namespace must be able to pass it.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a scratch directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode 0755");
        Self { path, mounted: Mutex::default(), alone: false }
    }

    /// Makes everything else of the host read-only for the calling thread.
    pub fn stand_alone(&mut self) {
        // Built when it is first asked for, which is then too late.
        let _ = inspector();
        protect_host(&self.path);
        self.remember(&self.path);
        self.alone = true;
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory below, with its parents.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).expect("a directory below the scratch directory");
        path
    }

    /// Mounts a fresh tmpfs at a directory below, which is made when missing.
    pub fn tmpfs(&self, name: &str) -> PathBuf {
        let path = self.dir(name);
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), c"mode=0755").expect("a tmpfs");
        self.remember(&path);
        path
    }

    /// Binds a file or directory over one that exists, with its submounts when
    /// `recursive`.
    pub fn bind(&self, source: &Path, target: &Path, recursive: bool) {
        let bound = if recursive {
            mount_bind_recursive(source, target)
        } else {
            mount_bind(source, target)
        };
        bound.expect("a bind mount");
        self.remember(target);
    }

    fn remember(&self, path: &Path) {
        self.mounted.lock().expect("no test thread panicked here").push(path.to_path_buf());
    }

    /// Mounts below that the test did not make itself.
    pub fn foreign_mounts(&self) -> Vec<PathBuf> {
        let own = self.mounted.lock().expect("no test thread panicked here");
        let targets = mount_table().into_iter().map(|mount| mount.target);
        targets.filter(|path| path.starts_with(&self.path) && !own.contains(path)).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut targets: Vec<PathBuf> = mount_table().into_iter().map(|m| m.target).collect();
        targets.retain(|target| target.starts_with(&self.path));
        let own = self.mounted.get_mut().expect("no test thread panicked here");
        targets.extend(own.drain(..).filter(|target| !target.starts_with(&self.path)));
        for target in targets.iter().rev() {
            let _ = unmount(target, UnmountFlags::DETACH);
        }
        if self.alone {
            release_host();
        }
        // Never remove through a mount: it may show a directory of the host.
        let clean = mount_table().iter().all(|mount| !mount.target.starts_with(&self.path));
        if clean {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
