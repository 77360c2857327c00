//! Records each panic of the process, dumps the recording at the first, then calls the hook that was there before.
//!
//! One hook serves all recorders. It takes no lock that it would have to wait for, and allocates
//! nothing. A hook that somebody sets later, and that does not call ours, silences it.

use std::{
    any::Any,
    io, panic,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    event::{Event, Kind, Severity, Text, UNNAMED},
    folder::Folder,
    mutants,
    process::Birth,
    recorder::{Core, Recorder},
    sync::{Arc, AtomicBool, AtomicU64, Once, Ordering, RwLock, Weak, thread},
};

static INSTALLED: Once = Once::new();
static HOOKED: RwLock<Vec<Hooked>> = RwLock::new(Vec::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

struct Hooked {
    id: u64,
    core: Weak<Core>,
    dump: Option<Dump>,
}

/// A file to be made at the first panic; all that it needs is there before, so that nothing is allocated then.
struct Dump {
    folder: Folder,
    name: String,
    begun: AtomicBool,
}

/// How often the hook looks again at a list that is being changed, before it gives up: each change
/// is some hundred nanoseconds long.
const TRIES: u32 = 10_000;

/// Keeps a recorder's panics being recorded. Dropping it ends that; the hook before goes on.
#[derive(Debug)]
#[must_use = "dropping it ends the recording of panics"]
pub struct PanicHookGuard {
    id: u64,
    birth: Birth,
}

/// From now on, each panic in this process leaves three events in the recorder's panic lane: the
/// message ([`Kind::PANICKED`]), the place and the thread; they are flushed to the disk, best effort.
///
/// The first call in a process takes the hook that is there and sets one that records and then calls it, so
/// its message stays. It stays set until the process ends; without a guard it only calls the one before.
/// A hook that somebody sets later, and that does not call ours, silences it. To do without, don't call
/// this: a hook of one's own may call [`Recorder::record`].
///
/// The hook does not keep the recorder alive. Several recorders may be hooked; each gets every panic. In a
/// child of this process that `fork` made, it only calls the one before for recorders of the parent.
pub fn install_panic_hook(recorder: &Recorder) -> PanicHookGuard {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    install(
        Hooked { id, core: Arc::downgrade(recorder.core()), dump: None },
        recorder.core().birth(),
    )
}

/// Where [`install_panic_hook_with_dump`] puts its files, and how many.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PanicDump {
    /// A directory that exists.
    pub dir: PathBuf,
    /// How many dumps of earlier processes stay beside the new one, not counting the oldest: that one
    /// stays until somebody takes it away, so that a program that panics at each start cannot push out
    /// what came first. Others go when the hook is installed. Unit: files. Default: 3.
    pub keep_files: u32,
}

impl PanicDump {
    /// Into `dir`, beside three earlier ones.
    pub fn into_dir(dir: impl Into<PathBuf>) -> PanicDump {
        PanicDump { dir: dir.into(), keep_files: 3 }
    }
}

/// As [`install_panic_hook`], and the first panic also writes the whole recording as it is then to
/// `blackbox-panic-<process>-<time>-<n>.ngbb`: what led to it is kept, however long the process goes on. It
/// is the way to have a file at all from [`Recorder::in_memory`].
///
/// The panicking thread waits for that file, best effort; nothing is allocated. The directory is resolved
/// once, here. Errors: it cannot be opened or written to.
pub fn install_panic_hook_with_dump(
    recorder: &Recorder,
    dump: &PanicDump,
) -> io::Result<PanicHookGuard> {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let folder = Folder::open(&dump.dir)?;
    folder.check_writable()?;
    forget_old_dumps(&folder, dump.keep_files as usize)?;
    // In a container each process has the same number: the time tells them apart.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let name = format!("{DUMP_START}{}-{since}-{id}{DUMP_END}", std::process::id());
    let dump = Some(Dump { folder, name, begun: AtomicBool::new(false) });
    Ok(install(Hooked { id, core: Arc::downgrade(recorder.core()), dump }, recorder.core().birth()))
}

const DUMP_START: &str = "blackbox-panic-";
const DUMP_END: &str = ".ngbb";

fn forget_old_dumps(folder: &Folder, keep: usize) -> io::Result<()> {
    let mut dumps = Vec::new();
    for name in folder.names()? {
        if name.starts_with(DUMP_START) && name.ends_with(DUMP_END) {
            dumps.push((folder.read(&name)?.metadata()?.modified()?, name));
        }
    }
    dumps.sort();
    let first = usize::from(!mutants::on("blackbox-first-dump-goes"));
    let old = dumps.len().saturating_sub(keep);
    for (_, name) in dumps.iter().take(old).skip(first) {
        // Best effort: what stays is tried again by the next process.
        let _ = folder.remove(name);
    }
    Ok(())
}

fn install(hooked: Hooked, birth: Birth) -> PanicHookGuard {
    let id = hooked.id;
    HOOKED.write().push(hooked);
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            record(info);
            if !mutants::on("blackbox-hook-ends-the-chain") {
                previous(info);
            }
        }));
    });
    PanicHookGuard { id, birth }
}

impl Dump {
    /// Once: later panics find what led to the first one kept.
    fn write(&self, core: &Core) {
        if self.begun.swap(true, Ordering::Relaxed) {
            return;
        }
        // Nobody can be told in the middle of a panic, so it is counted.
        if self.try_write(core).is_err() {
            core.faults.dump_errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn try_write(&self, core: &Core) -> io::Result<()> {
        let file = self.folder.create_new(&self.name)?;
        let written = core.write_to(&file);
        // What was written is synced even if not all of it could be.
        file.sync_all()?;
        written
    }
}

impl Drop for PanicHookGuard {
    fn drop(&mut self) {
        if self.birth.is_elsewhere_by_the_kernel() {
            // The list may be locked for good, by a thread that this process does not have; and what it
            // has of the parent's does nothing here.
            return;
        }
        HOOKED.write().retain(|hooked| hooked.id != self.id);
    }
}

fn record(info: &panic::PanicHookInfo<'_>) {
    // Never waits: the panic may come from a thread that is changing the list.
    let hooked = (0..TRIES).find_map(|_| {
        std::hint::spin_loop();
        // Recursive: else a change that is waiting for another thread's hook would turn us away.
        HOOKED.try_read_recursive()
    });
    let Some(hooked) = hooked else { return };
    let place = info
        .location()
        .map_or(Text::start_of("unknown"), |place| end_of_place(place.file(), place.line()));
    let thread = thread::current();
    let name = thread.name().unwrap_or(UNNAMED);
    let events = [
        Event::text(Kind::PANICKED, Severity::FATAL, message(info.payload())),
        Event::with_text(Kind::PANIC_PLACE, Severity::FATAL, place),
        Event::text(Kind::PANIC_THREAD, Severity::FATAL, name),
    ];
    if mutants::on("blackbox-hook-allocates") {
        drop(name.to_owned());
    }
    for (at, Hooked { core, dump, .. }) in hooked.iter().enumerate() {
        // A recorder that was hooked twice has each panic once.
        let first = !hooked[..at].iter().any(|earlier| earlier.core.ptr_eq(core));
        // Of a parent that forked this process, neither lanes nor the dump's name are ours.
        let ours = |core: &Arc<Core>| !core.birth().is_elsewhere_by_the_kernel();
        let Some(core) = core.upgrade().filter(ours) else { continue };
        if first {
            core.record_panic(events);
        }
        if let Some(dump) = dump {
            dump.write(&core);
        }
    }
}

fn message(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}

/// The last bytes of `file:line` that fit, without an allocation.
fn end_of_place(file: &str, line: u32) -> Text {
    let mut end = [0; Text::BYTES_MAX];
    let mut at = end.len();
    let mut left = line;
    while at == end.len() || left > 0 {
        at -= 1;
        end[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    at -= 1;
    end[at] = b':';
    let mut from = file.len().saturating_sub(at);
    while !file.is_char_boundary(from) {
        from += 1;
    }
    let tail = &file.as_bytes()[from..];
    end[at - tail.len()..at].copy_from_slice(tail);
    Text::copied(&end[at - tail.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_place_always_has_its_line() {
        assert_eq!(end_of_place("src/lib.rs", 0).as_str(), "src/lib.rs:0");
        assert_eq!(end_of_place("src/lib.rs", 1234).as_str(), "src/lib.rs:1234");
        let long = "a/very/long/path/to/some/module/deep/inside.rs";
        assert_eq!(end_of_place(long, u32::MAX).as_str(), "module/deep/inside.rs:4294967295");
        assert_eq!(end_of_place("ääääääääääääääääää.rs", 7).as_str(), "äääääääääääää.rs:7");
    }
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use crate::sync::Mutex;

    /// The hook and its list belong to the whole process, so these tests run one by one.
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());

    fn recorder() -> Recorder {
        Recorder::in_memory(crate::RecorderConfig::default(), &[]).unwrap()
    }

    /// Panics of this thread only: other tests of this process may panic as well.
    fn own_panics(recorder: &Recorder) -> usize {
        let thread = crate::clock::thread_number();
        let reader = recorder.snapshot().unwrap();
        reader.events().filter(|e| e.kind == Kind::PANICKED && e.thread == thread).count()
    }

    #[test]
    fn each_hooked_recorder_has_a_panic_once_until_its_guard_is_dropped() {
        let _alone = ONE_BY_ONE.lock();
        let (one, two, three) = (recorder(), recorder(), recorder());
        let first = install_panic_hook(&one);
        let _again = install_panic_hook(&one);
        let second = install_panic_hook(&two);
        catch_unwind(|| panic!("for both")).unwrap_err();
        assert_eq!([&one, &two, &three].map(own_panics), [1, 1, 0]);
        drop((first, second));
        catch_unwind(|| panic!("for the one still hooked")).unwrap_err();
        assert_eq!([&one, &two, &three].map(own_panics), [2, 1, 0]);
    }

    #[test]
    fn a_dump_never_goes_over_another_and_one_that_fails_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = recorder();
        let dump = || Dump {
            folder: Folder::open(dir.path()).unwrap(),
            name: "blackbox-panic-1-2-3.ngbb".to_owned(),
            begun: AtomicBool::new(false),
        };
        dump().write(recorder.core());
        let first = std::fs::metadata(dir.path().join(dump().name)).unwrap();
        assert_eq!((first.len(), recorder.stats().dump_errors_total), (recorder.bytes(), 0));
        std::fs::write(dir.path().join(dump().name), "evidence").unwrap();
        dump().write(recorder.core());
        assert_eq!(std::fs::read(dir.path().join(dump().name)).unwrap(), b"evidence");
        assert_eq!(recorder.stats().dump_errors_total, 1);
    }

    #[test]
    fn a_dropped_recorder_is_no_longer_kept_by_its_hook() {
        let _alone = ONE_BY_ONE.lock();
        let recorder = recorder();
        let core = Arc::downgrade(recorder.core());
        let _hook = install_panic_hook(&recorder);
        drop(recorder);
        assert!(core.upgrade().is_none());
        catch_unwind(|| panic!("nobody records this")).unwrap_err();
    }

    #[test]
    fn a_panic_while_the_recorder_is_locked_or_half_written_is_recorded_all_the_same() {
        let _alone = ONE_BY_ONE.lock();
        let recorder = recorder();
        let _hook = install_panic_hook(&recorder);
        recorder.core().panic_while_locked();
        assert_eq!(own_panics(&recorder), 1);
        drop(recorder.lane());
    }

    #[test]
    fn a_panic_while_the_list_of_hooks_is_being_changed_gives_up_instead_of_hanging() {
        let _alone = ONE_BY_ONE.lock();
        let recorder = recorder();
        let _hook = install_panic_hook(&recorder);
        catch_unwind(AssertUnwindSafe(|| {
            let _changing = HOOKED.write();
            panic!("inside install");
        }))
        .unwrap_err();
        assert_eq!(own_panics(&recorder), 0);
        catch_unwind(|| panic!("afterwards")).unwrap_err();
        assert_eq!(own_panics(&recorder), 1);
    }
}
