//! One hot path in a loop, for an instruction counter: `instructions PATH` runs it, `instructions` lists all paths.
//!
//! `cargo xtask instructions` starts it under valgrind, which counts only while the thread is inside [`measured`].
#![forbid(unsafe_code)]

mod paths;

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use paths::PATHS;

/// The only function that is counted, everything it calls included. It adds two to six instructions of its own to each
/// operation: the loop.
///
/// It is generic over the operation and instantiated once for each, so that the compiler inlines the path as it would
/// in a caller's own loop.
#[inline(never)]
fn measured(operations: u64, mut operation: impl FnMut(u64)) {
    for number in 0..operations {
        operation(number);
    }
}

fn main() -> ExitCode {
    match run(env::args().nth(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr takes nothing, the exit code still tells.
            let _ = writeln!(io::stderr(), "instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the path of this name. Without a name prints each path with its number of operations.
fn run(name: Option<String>) -> Result<(), Box<dyn Error>> {
    let Some(name) = name else {
        for path in PATHS {
            writeln!(io::stdout(), "{} {}", path.name, path.operations)?;
        }
        return Ok(());
    };
    let path = PATHS.iter().find(|path| path.name == name);
    let path = path.ok_or_else(|| format!("no path is called {name}"))?;
    (path.run)(path.operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each path checks at its end that its operations happened.
    #[test]
    fn every_path_does_its_work() {
        for path in PATHS {
            let operations = path.operations.min(2_000);
            (path.run)(operations).unwrap_or_else(|error| panic!("{}: {error}", path.name));
        }
    }

    #[test]
    fn a_name_that_is_no_path_is_refused() {
        assert!(run(Some("no_such_path".into())).is_err());
    }
}
