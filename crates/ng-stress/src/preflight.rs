//! Before the first allocation: does the machine have what the run needs? Everything that is
//! lacking ends the run with one line that says what is needed and what is there.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::failure::Failure;
use crate::plan::Plan;
use crate::{machine, usage};

/// Most tokens a store can address: slot numbers have 32 bits, and the arena reserves four times
/// its quota.
const TOKENS_MAX: u64 = 1_000_000_000;

/// Checks memory, address space, directory and disk, in this order, and creates nothing.
pub fn check(plan: &Plan) -> Result<(), Failure> {
    memory(plan)?;
    address_space(plan)?;
    if plan.tokens > TOKENS_MAX {
        let tokens = plan.tokens;
        return Err(Failure::Usage(format!("--tokens {tokens} is too many: at most {TOKENS_MAX}")));
    }
    directory("--dir", &plan.dir)?;
    if let Some(out) = &plan.out {
        directory("--out", out)?;
    }
    disk(plan)
}

fn memory(plan: &Plan) -> Result<(), Failure> {
    let needed = plan.memory_needed_bytes();
    let sources = [
        (machine::memory_available_bytes(), "available"),
        (machine::cgroup_room_bytes(), "left under the cgroup's limit"),
    ];
    for (present, words) in sources {
        if let Some(present) = present.filter(|present| *present < needed) {
            return Err(Failure::Environment(format!(
                "too little memory: {} needed for {} tokens, {} {words}",
                mib(needed),
                plan.tokens,
                mib(present)
            )));
        }
    }
    Ok(())
}

fn address_space(plan: &Plan) -> Result<(), Failure> {
    let Some(limit) = getrlimit(Resource::As).current else { return Ok(()) };
    let (needed, used) = (plan.address_space_needed_bytes(), usage::address_space_bytes());
    if limit.saturating_sub(used) < needed {
        return Err(Failure::Environment(format!(
            "too little address space: {} needed for {} tokens, {} left under RLIMIT_AS",
            mib(needed),
            plan.tokens,
            mib(limit.saturating_sub(used))
        )));
    }
    Ok(())
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
        Plan::new(&Args::try_parse_from(typed).expect("parsed")).expect("valid")
    }

    #[test]
    fn a_run_larger_than_any_memory_is_refused_with_both_figures() {
        let refused = check(&plan(&["--tokens", "1_000_000_000_000"])).expect_err("refused");
        let line = refused.to_string();
        assert!(matches!(refused, Failure::Environment(_)));
        assert!(line.contains("needed") && line.contains("available"), "{line}");
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
