//! Before the first allocation: does the machine have what the run needs? Everything that is
//! lacking ends the run with one line that says what is needed and what is there.
//!
//! What can be tried is tried and given back: addresses, threads and descriptors have more limits, of
//! the process, of its user, of its cgroup, of the kernel, than could be looked up.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::thread::Builder;

use rustix::process::{Resource, getrlimit};

use crate::failure::Failure;
use crate::fresh;
use crate::plan::Plan;
use crate::subject::largest_file_bytes;
use crate::{machine, usage};

/// Descriptors that a run has open at once, at most, beside those that it was started with: the log's segments
/// and its directory, the lock, the recorder, the child's pipe, the kernel's files. Ten were seen.
const DESCRIPTORS: usize = 20;

/// Looks at directories, memory, addresses, threads, descriptors, file sizes and the disk, and leaves nothing.
pub fn check(plan: &Plan) -> Result<(), Failure> {
    directory("--dir", &plan.dir)?;
    if let Some(out) = &plan.out {
        directory("--out", out)?;
    }
    memory(plan)?;
    address_space(plan)?;
    threads(plan.threads_needed())?;
    descriptors(DESCRIPTORS)?;
    if plan.logs() {
        file_size(largest_file_bytes())?;
    }
    disk(plan)
}

fn memory(plan: &Plan) -> Result<(), Failure> {
    let sources = [
        (machine::memory_available_bytes(), "available"),
        (machine::cgroup_room_bytes(), "left below 95 % of the cgroup's limit"),
    ];
    for (present, words) in sources {
        enough_memory(plan, present, words)?;
    }
    Ok(())
}

fn enough_memory(plan: &Plan, present: Option<u64>, words: &str) -> Result<(), Failure> {
    let needed = plan.memory_needed_bytes();
    match present.filter(|present| *present < needed) {
        None => Ok(()),
        Some(present) => Err(Failure::Environment(format!(
            "too little memory: {} needed for {} tokens and {} threads, {} {words}",
            mib(needed),
            plan.tokens,
            plan.threads_most(),
            mib(present)
        ))),
    }
}

fn address_space(plan: &Plan) -> Result<(), Failure> {
    let needed = plan.address_space_needed_bytes();
    let too_little = |present: String| {
        Failure::Environment(format!(
            "too little address space: {} needed for {} tokens and {} threads, {present}",
            mib(needed),
            plan.tokens,
            plan.threads_most()
        ))
    };
    if let Some(limit) = getrlimit(Resource::As).current {
        let present = limit.saturating_sub(usage::address_space_bytes());
        if present < needed {
            return Err(too_little(format!("{} left under RLIMIT_AS", mib(present))));
        }
    }
    fresh::try_addresses(needed)
        .map_err(|error| too_little(format!("which the kernel refuses to map: {error}")))
}

/// Starts as many threads as will run at once, and ends them when all are there or one is refused.
fn threads(needed: usize) -> Result<(), Failure> {
    let gate = RwLock::new(());
    std::thread::scope(|scope| {
        let _closed = gate.write();
        for present in 0..needed {
            let started = Builder::new().spawn_scoped(scope, || drop(gate.read()));
            started.map_err(|error| {
                let words = format!("{needed} needed at once, {present} can be started");
                Failure::Environment(format!("too few threads: {words} ({error})"))
            })?;
        }
        Ok(())
    })
}

/// Opens as many descriptors as a run does, and closes them.
fn descriptors(needed: usize) -> Result<(), Failure> {
    let stderr = std::io::stderr();
    let mut open: Vec<OwnedFd> = Vec::with_capacity(needed);
    while open.len() < needed {
        match stderr.as_fd().try_clone_to_owned() {
            Ok(descriptor) => open.push(descriptor),
            Err(error) => {
                let limit = getrlimit(Resource::Nofile).current;
                let limit = limit.map_or("unlimited".into(), |limit| limit.to_string());
                return Err(Failure::Environment(format!(
                    "too few file descriptors: {needed} more needed, {} can be opened \
                     (RLIMIT_NOFILE is {limit}; {error})",
                    open.len()
                )));
            }
        }
    }
    Ok(())
}

/// A write beyond this limit would end the process by a signal.
fn file_size(needed: u64) -> Result<(), Failure> {
    match getrlimit(Resource::Fsize).current.filter(|limit| *limit < needed) {
        None => Ok(()),
        Some(limit) => Err(Failure::Environment(format!(
            "too small a limit of file sizes: {} needed for a segment of the log, RLIMIT_FSIZE is {}",
            mib(needed),
            mib(limit)
        ))),
    }
}

/// A path that is no directory, or leads through a file, is a slip of the user's.
fn directory(flag: &str, path: &Path) -> Result<(), Failure> {
    let existing = nearest_existing(path);
    if existing.is_dir() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{flag} {}: {} is not a directory",
        path.display(),
        existing.display()
    )))
}

fn disk(plan: &Plan) -> Result<(), Failure> {
    let existing = nearest_existing(&plan.dir);
    let stat = rustix::fs::statvfs(&existing).map_err(|e| {
        Failure::Environment(format!("cannot look at --dir {}: {e}", plan.dir.display()))
    })?;
    // A pseudo file system has no blocks; that nothing can be written there shows on writing.
    if stat.f_blocks == 0 {
        return Ok(());
    }
    let (needed, present) = (plan.disk_needed_bytes(), stat.f_bavail.saturating_mul(stat.f_frsize));
    if present < needed {
        return Err(Failure::Environment(format!(
            "too little disk space: {} needed in --dir {}, {} free",
            mib(needed),
            plan.dir.display(),
            mib(present)
        )));
    }
    Ok(())
}

fn nearest_existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    fn plan(args: &[&str]) -> Plan {
        let typed = ["ng-stress"].into_iter().chain(args.iter().copied());
        Plan::new(&Args::try_parse_from(typed).expect("parsed"))
    }

    #[test]
    fn a_run_larger_than_the_memory_is_refused_with_both_figures() {
        let plan = plan(&["--tokens", "1_000_000"]);
        let refused = enough_memory(&plan, Some(100 << 20), "available").expect_err("refused");
        let line = refused.to_string();
        assert!(matches!(refused, Failure::Environment(_)));
        assert!(line.contains("MiB needed") && line.contains("100 MiB available"), "{line}");
        assert!(
            enough_memory(&plan, None, "").is_ok()
                && enough_memory(&plan, Some(1 << 40), "").is_ok()
        );
    }

    #[test]
    fn addresses_that_no_kernel_has_are_refused_and_what_is_there_is_given_back() {
        assert!(fresh::try_addresses(1 << 60).is_err());
        for _ in 0..100 {
            fresh::try_addresses(1 << 30).expect("each is given back");
        }
    }

    #[test]
    fn threads_and_descriptors_that_are_there_are_found() {
        threads(20).expect("20 threads");
        descriptors(20).expect("20 descriptors");
        let refused = descriptors(10_000_000).expect_err("nobody may have so many").to_string();
        assert!(refused.contains("10000000 more needed"), "{refused}");
    }

    #[test]
    fn a_file_where_a_directory_is_needed_is_wrong_usage() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().join("below");
        let path = path.to_str().expect("text");
        let refused = check(&plan(&["--tokens", "1000", "--dir", path])).expect_err("refused");
        assert!(matches!(refused, Failure::Usage(_)), "{refused}");
    }

    #[test]
    fn a_missing_directory_is_judged_by_its_nearest_parent() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(nearest_existing(&dir.path().join("a/b/c")), dir.path());
    }
}
