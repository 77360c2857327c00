//! Records each panic of the process, dumps the recording at the first, then calls the hook that was there before.
//!
//! One hook serves all recorders. It takes no lock that it would have to wait for, and allocates
//! nothing. A hook that somebody sets later, and that does not call ours, silences it.

use std::{
    any::Any,
    fs::{self, File},
    io, panic,
    path::{Path, PathBuf},
};

use crate::{
    event::{Event, Kind, Severity, Text},
    mutants,
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

/// A file to be made at the first panic; all that it needs is there before.
struct Dump {
    place: DumpPlace,
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
}

/// From now on, each panic in this process leaves three events in the recorder's panic lane: the
/// message ([`Kind::PANICKED`]), the place and the thread; they are flushed to the disk, best effort.
///
/// The hook does not keep the recorder alive. Several recorders may be hooked; each gets every panic.
pub fn install_panic_hook(recorder: &Recorder) -> PanicHookGuard {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    install(Hooked { id, core: Arc::downgrade(recorder.core()), dump: None })
}

/// Where [`install_panic_hook_with_dump`] puts its files, and how many.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PanicDump {
    /// A directory that exists.
    pub dir: PathBuf,
    /// How many dumps of earlier processes stay beside the new one; the oldest go when the hook is
    /// installed. Unit: files. Default: 3.
    pub keep_files: u32,
}

impl PanicDump {
    /// Into `dir`, beside three earlier ones.
    pub fn into_dir(dir: impl Into<PathBuf>) -> PanicDump {
        PanicDump { dir: dir.into(), keep_files: 3 }
    }
}

/// As [`install_panic_hook`], and the first panic also writes the whole recording as it is then to
/// `blackbox-panic-<process>-<n>.ngbb`: what led to it is kept, however long the process goes on. It
/// is the way to have a file at all from [`Recorder::in_memory`].
///
/// The panicking thread waits for that file, best effort; nothing is allocated. Errors: the directory
/// cannot be opened or written to.
pub fn install_panic_hook_with_dump(
    recorder: &Recorder,
    dump: &PanicDump,
) -> io::Result<PanicHookGuard> {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let name = format!("{DUMP_START}{}-{id}{DUMP_END}", std::process::id());
    let place = DumpPlace::new(&dump.dir, name)?;
    forget_old_dumps(&dump.dir, dump.keep_files)?;
    let dump = Some(Dump { place, begun: AtomicBool::new(false) });
    Ok(install(Hooked { id, core: Arc::downgrade(recorder.core()), dump }))
}

const DUMP_START: &str = "blackbox-panic-";
const DUMP_END: &str = ".ngbb";

fn forget_old_dumps(dir: &Path, keep: u32) -> io::Result<()> {
    let mut dumps = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = |name: &str| name.starts_with(DUMP_START) && name.ends_with(DUMP_END);
        if name.to_str().is_some_and(ours) {
            dumps.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    dumps.sort();
    for (_, path) in &dumps[..dumps.len().saturating_sub(keep as usize)] {
        // Best effort: what stays is tried again by the next process.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

fn install(hooked: Hooked) -> PanicHookGuard {
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
    PanicHookGuard { id }
}

/// Where a dump goes: the directory is open before, so that nothing is allocated in a panic.
#[cfg(unix)]
struct DumpPlace {
    dir: std::os::fd::OwnedFd,
    name: std::ffi::CString,
}

#[cfg(unix)]
impl DumpPlace {
    /// Errors: the directory cannot be opened or written to.
    fn new(dir: &Path, name: String) -> io::Result<DumpPlace> {
        use rustix::fs::{Access, AtFlags, Mode, OFlags};
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty())?;
        let access = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(&dir, ".", access, AtFlags::EACCESS)?;
        Ok(DumpPlace { dir, name: std::ffi::CString::new(name)? })
    }

    fn create(&self) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.dir, self.name.as_c_str(), flags, mode)?.into())
    }
}

/// The same by its path, which the standard library translates, with an allocation.
#[cfg(not(unix))]
struct DumpPlace(PathBuf);

#[cfg(not(unix))]
impl DumpPlace {
    /// Errors: there is no such directory.
    fn new(dir: &Path, name: String) -> io::Result<DumpPlace> {
        fs::read_dir(dir)?;
        Ok(DumpPlace(dir.join(name)))
    }

    fn create(&self) -> io::Result<File> {
        File::create(&self.0)
    }
}

impl Dump {
    /// Once: later panics find what led to the first one kept.
    fn write(&self, core: &Core) {
        if self.begun.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(file) = self.place.create() else {
            return; // nobody can be told in the middle of a panic
        };
        // Nor here; what was written is synced even if not all of it could be.
        let _ = core.write_to(&file);
        // Nor here; the bytes are in the page cache, and outlive the process.
        let _ = file.sync_all();
    }
}

impl Drop for PanicHookGuard {
    fn drop(&mut self) {
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
    let name = thread.name().unwrap_or("unnamed");
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
        let Some(core) = core.upgrade() else { continue };
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
