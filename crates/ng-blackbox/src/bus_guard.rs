//! Turns a SIGBUS in a recorder's mapping into a lost page: the process goes on, and the recorder says so.
//!
//! A store into a mapped file whose page is gone, since somebody cut the file or a copy-on-write
//! filesystem is full, is a SIGBUS. The guard puts a page of memory in its place, as journald does.
//! Any other SIGBUS goes to whoever had it before. Nothing here takes a lock or allocates in a handler.

use std::{
    ffi::{c_int, c_void},
    io,
    mem::MaybeUninit,
    ptr,
};

use rustix::mm::{self, MapFlags, ProtFlags};

use crate::{
    mutants,
    sync::{AtomicPtr, AtomicU64, AtomicUsize, Mutex, Ordering},
};

/// Mapped files at one time in this process; those beyond are not guarded.
const PLACES: usize = 64;

struct Region {
    /// Address of a mapping; 0 for none, `TAKEN` while it is being changed.
    base: AtomicUsize,
    bytes: AtomicUsize,
    lost_pages: AtomicU64,
}

/// No mapping starts there.
const TAKEN: usize = 1;

static REGIONS: [Region; PLACES] = [const {
    Region { base: AtomicUsize::new(0), bytes: AtomicUsize::new(0), lost_pages: AtomicU64::new(0) }
}; PLACES];

/// What was there before; null until the guard stands.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);
static INSTALLING: Mutex<()> = Mutex::new(());

type PlainHandler = extern "C" fn(c_int);
type InfoHandler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// A mapping that the guard knows, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    index: usize,
}

/// None if there are too many already.
pub(crate) fn watch(base: usize, bytes: usize) -> Option<Place> {
    let claim = |region: &Region| {
        region.base.compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    let index = REGIONS.iter().position(claim)?;
    REGIONS[index].bytes.store(bytes, Ordering::Release);
    REGIONS[index].lost_pages.store(0, Ordering::Relaxed);
    REGIONS[index].base.store(base, Ordering::Release);
    Some(Place { index })
}

impl Place {
    pub(crate) fn lost_pages(&self) -> u64 {
        REGIONS[self.index].lost_pages.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        REGIONS[self.index].base.store(0, Ordering::Release);
    }
}

/// From now on, a recording that is cut by somebody else, or whose copy-on-write filesystem is full,
/// loses pages instead of ending the process with SIGBUS: they become memory of this process, and
/// [`BlackboxStats::lost_pages`](crate::BlackboxStats::lost_pages) counts them.
///
/// One handler serves all recorders of the process, those opened later too; it stays until the
/// process ends. A SIGBUS elsewhere goes to the handler that was there before, or ends the process as
/// it would have. A handler that somebody sets later, and that does not call ours, silences it.
///
/// A second call does nothing. To do without, don't call this: such a fault then ends the process.
/// Errors: the system refused the handler.
pub fn install_bus_guard() -> io::Result<()> {
    let _alone = INSTALLING.lock();
    if !PREVIOUS.load(Ordering::Acquire).is_null() {
        return Ok(());
    }
    // SAFETY: reads a constant of the system.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page_bytes = usize::try_from(page_bytes).map_err(|_| io::Error::last_os_error())?;
    PAGE_BYTES.store(page_bytes, Ordering::Relaxed);
    let mut previous = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null action nothing changes; the present one is written to `previous`.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above succeeded, so it is written.
    let previous = unsafe { previous.assume_init() };
    // Never freed: a handler may read it at any time. There before the handler can run.
    PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::Release);
    let handler: InfoHandler = on_bus_error;
    // SAFETY: all zeroes are a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as *const () as libc::sighandler_t;
    // On the alternate stack, where a thread has one: as the standard library's own handler.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `action` is complete, and its handler calls only what a handler may.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) } != 0 {
        let refused = io::Error::last_os_error();
        PREVIOUS.store(ptr::null_mut(), Ordering::Release);
        return Err(refused);
    }
    Ok(())
}

extern "C" fn on_bus_error(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a whole `siginfo_t`.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // At or below 0 it was sent by a process, and carries no address.
    let ours = code > 0 && !mutants::on("blackbox-guard-lets-go") && put_memory_at(address);
    if !ours {
        pass_on(signal, code, info, context);
    }
}

/// A page of zeroes in the place of the one that a recorder lost. False if it is none of ours.
fn put_memory_at(address: usize) -> bool {
    let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
    let holds = |region: &&Region| {
        let base = region.base.load(Ordering::Acquire);
        let bytes = region.bytes.load(Ordering::Acquire);
        // A region of another thread may be changing; one that is being faulted in does not.
        let steady = base > TAKEN && base == region.base.load(Ordering::Relaxed);
        steady && address.checked_sub(base).is_some_and(|offset| offset < bytes)
    };
    let region = REGIONS.iter().find(holds);
    let region = if mutants::on("blackbox-guard-takes-all") { REGIONS.first() } else { region };
    let Some(region) = region else { return false };
    let page = ptr::without_provenance_mut::<c_void>(address & !(page_bytes - 1));
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    // SAFETY: the page lies in a mapping of ours, which is not unmapped while somebody reads or writes
    // in it; its words are atomics, for which any bytes are valid. A bare system call: no lock, no
    // allocation, no `errno`.
    let mapped =
        unsafe { mm::mmap_anonymous(page, page_bytes, ProtFlags::READ | ProtFlags::WRITE, flags) };
    if mapped.is_ok() {
        region.lost_pages.fetch_add(1, Ordering::Relaxed);
    }
    mapped.is_ok()
}

fn pass_on(signal: c_int, code: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: set before this handler, never freed.
    let previous = unsafe { &*PREVIOUS.load(Ordering::Acquire) };
    match previous.sa_sigaction {
        // A fault cannot be ignored: it would come again at once.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: puts back what the system gave. The faulting instruction then runs again, and
            // ends the process as it would have without us; a signal that was sent is sent again.
            unsafe {
                let mut plain: libc::sigaction = MaybeUninit::zeroed().assume_init();
                let ignored = code <= 0 && previous.sa_sigaction == libc::SIG_IGN;
                plain.sa_sigaction = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
                libc::sigaction(signal, &plain, ptr::null_mut());
                if code <= 0 {
                    libc::raise(signal);
                }
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: registered with SA_SIGINFO, so it is a function of this type.
            let handler = unsafe { std::mem::transmute::<usize, InfoHandler>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: registered without SA_SIGINFO, so it is a function of this type.
            let handler = unsafe { std::mem::transmute::<usize, PlainHandler>(handler) };
            handler(signal);
        }
    }
}
