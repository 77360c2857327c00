//! The suite's own working directory: a fresh one inside --dir, removed whatever happens. Nothing
//! beside it is ever touched.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::interrupt;

/// A directory that is gone when this value is.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
}

impl WorkDir {
    /// Makes `neurograph-stress-<pid>-<random>` inside `parent`, and `parent` too if it is missing.
    pub fn create(parent: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(parent).map_err(|e| refused(parent, &e))?;
        // Absolute, so that removing it does not depend on a later change of directory.
        let parent = parent.canonicalize().map_err(|e| refused(parent, &e))?;
        let mut owned = interrupt::owned();
        loop {
            let name =
                format!("neurograph-stress-{}-{:016x}", std::process::id(), fastrand::u64(..));
            let path = parent.join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    owned.workdir = Some(path.clone());
                    return Ok(Self { path });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(refused(&parent, &e)),
            }
        }
    }

    /// The path of an entry that a phase may create and remove.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes one entry made by a phase.
    pub fn remove(&self, name: &str) -> Result<(), Failure> {
        let path = self.join(name);
        interrupt::remove_tree(&path).map_err(Failure::io("remove", path))
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let mut owned = interrupt::owned();
        // Nobody is left to tell of an error; the next run is not disturbed by a leftover.
        let _ = interrupt::remove_tree(&self.path);
        owned.workdir = None;
    }
}

fn refused(dir: &Path, source: &io::Error) -> Failure {
    Failure::Environment(format!("cannot write in --dir {}: {source}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fresh_directory_goes_and_a_neighbour_stays() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let neighbour = parent.path().join("neurograph-stress-of-somebody-else");
        std::fs::write(&neighbour, "keep").expect("written");
        let dir = WorkDir::create(parent.path()).expect("created");
        std::fs::write(dir.join("inside"), "go").expect("written");
        let made = dir.path.clone();
        drop(dir);
        assert!(!made.exists());
        assert_eq!(std::fs::read_to_string(neighbour).expect("still there"), "keep");
    }

    #[test]
    fn a_panic_removes_the_directory_too() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let path = parent.path().to_path_buf();
        let panicked = std::thread::spawn(move || {
            let _dir = WorkDir::create(&path).expect("created");
            std::panic::resume_unwind(Box::new("as a phase might"));
        });
        assert!(panicked.join().is_err());
        assert_eq!(std::fs::read_dir(parent.path()).expect("read").count(), 0);
    }
}
