//! How the tests start the program and look at what it leaves behind. Included by the others.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A place of its own for each test.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
}

#[allow(dead_code, reason = "each test file uses what it needs")]
impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Parent of the working directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where the report goes.
    pub fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The program, writing only into this place.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = bare(args);
        command
            .current_dir(self.dir.path())
            .arg("--dir")
            .arg(self.data())
            .arg("--out")
            .arg(self.out());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program starts")
    }

    /// Runs `command` in a shell that first does what `limit` says.
    pub fn limited(&self, limit: &str, command: &Command) -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")]);
        shell.arg(command.get_program()).args(command.get_args());
        shell.current_dir(self.dir.path()).output().expect("the shell starts")
    }

    /// Everything below this place, as relative paths.
    pub fn left_behind(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut dirs = vec![self.dir.path().to_path_buf()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    dirs.push(path.clone());
                }
                found.push(path.strip_prefix(self.dir.path()).expect("below").to_path_buf());
            }
        }
        found.sort();
        found
    }
}

/// The program with nothing but these arguments.
pub fn bare(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ng-stress"));
    command.args(args);
    command
}

#[allow(dead_code, reason = "each test file uses what it needs")]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}
