//! Starts the measuring programs in release mode, in the workspace root, with the user's arguments unchanged.
//! After the build the program takes this process's place, so Ctrl-C and exit codes are its own.
//!
//! Their arguments are read here first, so that a wrong flag is refused, and help is given, without a build of minutes.
//! The definitions are the programs' own files: mirrored ones would have to be kept alike, and xtask may depend on no
//! crate of ours.

#[path = "../../benches/src/args.rs"]
#[allow(dead_code, reason = "only what can be typed matters here")]
mod bench_args;
#[path = "../../crates/ng-stress/src/args.rs"]
#[allow(dead_code, reason = "only what can be typed matters here")]
mod stress_args;

use std::{ffi::OsString, io, process::Command};

use clap::Parser;

use crate::{
    console::{self, Early},
    exit::Exit,
    meanwhile, workspace,
};

/// `cargo xtask stress`: the four-phase suite.
pub(crate) fn stress(args: &[OsString]) -> Exit {
    launch::<stress_args::Args>("ng-stress", &["-p", "ng-stress"], args)
}

/// `cargo xtask bench-report`: floors, peers and our figures. Only here are the peers built.
pub(crate) fn bench_report(args: &[OsString]) -> Exit {
    launch::<bench_args::Args>("bench-report", &["-p", "benches", "--features", "peers"], args)
}

fn launch<A: Parser>(name: &str, package: &[&str], args: &[OsString]) -> Exit {
    let words = [OsString::from(name)].into_iter().chain(args.iter().cloned());
    match console::read::<A>(words) {
        Ok(_) => {}
        Err(Early::Asked(text)) => {
            print!("{text}");
            return Exit::Good;
        }
        Err(Early::Wrong(line)) => {
            eprintln!("{name}: {line}");
            return Exit::Usage;
        }
    }
    // Built first and apart, since `cargo run` reports a failed build as 101, which is none of our exit codes.
    match meanwhile::build(&format!("{name} in release mode"), &mut cargo("build", package)) {
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
