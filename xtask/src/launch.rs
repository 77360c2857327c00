//! Starts the measuring programs in release mode, in the workspace root, with the user's arguments unchanged.
//! After the build the program takes this process's place, so Ctrl-C and exit codes are its own.

use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    process::Command,
};

use crate::{exit::Exit, workspace};

/// `cargo xtask stress`: the four-phase suite.
pub(crate) fn stress(args: &[OsString]) -> Exit {
    launch(&["-p", "ng-stress"], args)
}

/// `cargo xtask bench-report`: floors, peers and our figures. Only here are the peers built.
pub(crate) fn bench_report(args: &[OsString]) -> Exit {
    launch(&["-p", "benches", "--features", "peers"], args)
}

fn launch(package: &[&str], args: &[OsString]) -> Exit {
    // Built first and apart, since `cargo run` reports a failed build as 101, which is none of our exit codes.
    match cargo("build", package).status() {
        Ok(status) if status.success() => {}
        Ok(_) => {
            eprintln!("xtask: the release build of {} failed, see above", package[1]);
            return Exit::Environment;
        }
        Err(error) => return cannot_start("cargo build", &error),
    }
    // Quiet now in any case: the build is done, and stderr belongs to the program's own progress.
    become_program(cargo("run", package).arg("--quiet").arg("--").args(args))
}

fn cargo(verb: &str, package: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args([verb, "--release", "--locked"]).args(package);
    // The first build takes minutes: on a terminal cargo's own progress bar says so.
    if verb == "build" && !io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    command
}

#[cfg(unix)]
fn become_program(command: &mut Command) -> Exit {
    use std::os::unix::process::CommandExt;
    cannot_start("cargo run", &command.exec())
}

#[cfg(not(unix))]
fn become_program(command: &mut Command) -> Exit {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => cannot_start("cargo run", &error),
    }
}

fn cannot_start(what: &str, error: &io::Error) -> Exit {
    eprintln!("xtask: cannot start {what}: {error}");
    Exit::Environment
}
