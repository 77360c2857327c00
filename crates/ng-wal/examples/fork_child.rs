//! What becomes of an open log when the process forks: the child's copy does nothing, whatever the child
//! does with it, and the parent goes on as if there were none. Ends with 0 if all that holds.
//!
//! `fork_child` makes its own directory; `fork_child open DIR` says whether DIR can be opened.
#![allow(clippy::print_stderr)] // a program talks to its terminal

use quietly::quietly;

#[path = "console/quietly.rs"]
mod quietly;

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    quietly(forked::main())
}

#[cfg(not(unix))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Write;
    quietly(writeln!(std::io::stdout(), "there is no fork here").map_err(Into::into))
}

#[cfg(unix)]
mod forked {
    use std::error::Error;
    use std::io::{self, Write};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use ng_wal::{
        AppendError, BackupError, CloseError, Durability, Lsn, OpenError, RetireError, WaitError,
        Wal, WalConfig,
    };

    /// A child that takes longer hangs: it waits for a thread that it does not have.
    const CHILD_SECONDS_MAX: u32 = 30;
    const FORKS: usize = 24;

    pub(crate) fn main() -> Result<(), Box<dyn Error>> {
        let mut words = std::env::args().skip(1);
        if let (Some("open"), Some(dir)) = (words.next().as_deref(), words.next()) {
            return open(Path::new(&dir));
        }
        let dir = tempfile::tempdir()?;
        let (log, copy) = (dir.path().join("log"), dir.path().join("copy"));
        let (wal, _) = Wal::open(&log, config())?;
        wal.append_durable(1, b"before the first fork", Durability::Strict)?;
        let appended = busy(&wal, || {
            for round in 0..FORKS {
                match round % 3 {
                    0 => in_child(|| drop_it(&wal)),
                    1 => in_child(|| all_calls_are_forked(&wal, &copy)),
                    _ => in_child(|| fill_the_ring(&wal)),
                }
                assert!(is_locked(&log), "after round {round} another process can open the log");
            }
        })?;
        assert!(!copy.exists(), "a child made a copy");
        let last = wal.append_durable(1, b"after the last fork", Durability::Strict)?;
        assert_eq!(last.get(), appended + 2, "somebody else's records are in the log");
        // A child that outlives the parent's handle does not keep the lock.
        wal.close()?;
        assert!(!is_locked(&log), "the log is closed, and locked");
        let (wal, recovery) = Wal::open(&log, config())?;
        assert!(recovery.sealed);
        let mut records = 0;
        for record in recovery.replay() {
            let _whole = record?;
            records += 1;
        }
        assert_eq!(records, appended + 2);
        in_child(|| drop_it(&wal));
        wal.close()?;
        // A child may have a log of its own where no thread of the parent waited at the fork: the lists of those who
        // wait are copied, and lead to stacks that the child's threads get.
        in_child(|| {
            let (own, _) = Wal::open(dir.path().join("own"), config()).unwrap();
            own.append_durable(1, b"a child's", Durability::Strict).unwrap();
            own.close().unwrap();
        });
        Ok(writeln!(io::stdout(), "{FORKS} forks, {records} records")?)
    }

    fn config() -> WalConfig {
        let mut config = WalConfig::default();
        config.segment_bytes = 1 << 20;
        config.payload_bytes_max = 10_000;
        config.ring_slots = 256;
        config
    }

    /// Runs `body` while threads append, sync and retire, so that at a fork locks are held; returns how
    /// many records they appended.
    fn busy(wal: &Wal, body: impl FnOnce()) -> Result<u64, AppendError> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let threads: Vec<_> = [Durability::Strict, Durability::Balanced]
                .map(|level| {
                    let stop = &stop;
                    scope.spawn(move || {
                        let mut appended = 0;
                        while !stop.load(Ordering::Relaxed) {
                            wal.append_durable(2, &[7; 200], level)?;
                            appended += 1;
                        }
                        Ok(appended)
                    })
                })
                .into();
            let went = catch_unwind(AssertUnwindSafe(body));
            stop.store(true, Ordering::Relaxed);
            let appended = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
            went.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            appended
        })
    }

    /// What a child does when it ends in the ordinary way: it drops what it has.
    fn drop_it(wal: &Wal) {
        // SAFETY: a copy of the handle in the child, which ends without dropping the other one.
        drop(unsafe { std::ptr::read(wal) });
    }

    fn all_calls_are_forked(wal: &Wal, copy: &Path) {
        let parent = std::os::unix::process::parent_id();
        let minute = Duration::from_secs(60);
        let by_parent = |error: AppendError| error == AppendError::Forked { opened_by: parent };
        assert!(by_parent(wal.append(1, b"x").unwrap_err()));
        assert!(by_parent(wal.append_durable(1, b"x", Durability::Strict).unwrap_err()));
        assert!(by_parent(wal.append_batch(&[(1, b"x"), (1, b"y")]).unwrap_err()));
        assert!(by_parent(wal.reach(wal.last_lsn(), Durability::Strict).unwrap_err()));
        let forked = WaitError::Forked { opened_by: parent };
        assert_eq!(wal.sync().unwrap_err(), forked);
        assert_eq!(wal.wait_durable(Lsn::new(1), minute).unwrap_err(), forked);
        assert!(matches!(wal.retire_before(Lsn::new(9)), Err(RetireError::Forked { .. })));
        assert!(matches!(wal.backup(copy), Err(BackupError::Forked { .. })));
        assert!(matches!(wal.shut(), Err(CloseError::Forked { .. })));
        let _plain = (wal.stats(), wal.health(), wal.oldest_lsn(), wal.durable_lsn());
        let told = forked.to_string();
        assert!(told.contains(&format!("process {parent}")) && told.contains("forked"), "{told}");
    }

    /// Appends that never block go into the child's own copy of the ring, until it is full.
    fn fill_the_ring(wal: &Wal) {
        let fill = |append: &dyn Fn() -> Result<Lsn, AppendError>| {
            let error = (0..100_000).find_map(|_| append().err()).expect("a ring without an end");
            assert!(matches!(error, AppendError::Forked { .. }), "{error}");
        };
        fill(&|| wal.try_append(1, &[1; 64]));
        fill(&|| wal.try_append_reserved(1, &[1; 64]));
        fill(&|| wal.try_append(1, &[1; 5_000]));
        fill(&|| wal.try_append_batch(&[(1, b"x"), (1, b"y")]));
        drop_it(wal);
    }

    /// Forks, and goes on when the child has done `body`.
    fn in_child(body: impl FnOnce()) {
        // SAFETY: the child calls only what is to be shown to be safe there, and ends by `_exit`.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                // SAFETY: no handler is set, so the signal ends the child.
                unsafe { libc::alarm(CHILD_SECONDS_MAX) };
                let code = i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
                // SAFETY: ends the child at once; the parent's buffers and handlers are not touched.
                unsafe { libc::_exit(code) }
            }
            child => {
                let mut status = 0;
                // SAFETY: our own child, and a place for its status.
                let waited = unsafe { libc::waitpid(child, &mut status, 0) };
                assert_eq!(waited, child, "{}", std::io::Error::last_os_error());
                assert_eq!(status, 0, "a child failed, or hung until its alarm");
            }
        }
    }

    /// Whether another process is told that the log is locked.
    fn is_locked(log: &Path) -> bool {
        let program = std::env::current_exe().expect("this program");
        let said = Command::new(program).arg("open").arg(log).output().expect("a second process");
        match String::from_utf8_lossy(&said.stdout).trim() {
            "locked" => true,
            "opened" => false,
            other => panic!("{other}{}", String::from_utf8_lossy(&said.stderr)),
        }
    }

    fn open(dir: &Path) -> Result<(), Box<dyn Error>> {
        match Wal::open(dir, config()) {
            Ok((wal, _)) => {
                writeln!(io::stdout(), "opened")?;
                Ok(wal.close()?)
            }
            Err(OpenError::Locked { .. }) => Ok(writeln!(io::stdout(), "locked")?),
            Err(error) => Err(error.into()),
        }
    }
}
