//! Which errors of the operating system are a shortage that may pass: nothing was done, and nothing
//! that was told is in doubt.

use std::io;

/// Whether a write failed before it did anything, for want of something that may come back. Any
/// other failure of a write leaves its effect unknown.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    use io::ErrorKind::{
        FileTooLarge, Interrupted, OutOfMemory, QuotaExceeded, StorageFull, WouldBlock,
    };
    let kinds = [FileTooLarge, Interrupted, OutOfMemory, QuotaExceeded, StorageFull, WouldBlock];
    kinds.contains(&error.kind()) || is_want_of_descriptors(error)
}

/// Whether there is no room on the disk, or no share of it: then less of it may still do.
pub(crate) fn is_want_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a sync of the directory failed before it began: it opens the directory first, and may be
/// interrupted. Any other failure of a sync is final.
pub(crate) fn is_before_sync(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || is_want_of_descriptors(error)
}

/// The process or the system has no descriptor left; the standard library has no kind for that.
fn is_want_of_descriptors(error: &io::Error) -> bool {
    // ENFILE, EMFILE: the same numbers wherever there are errno's. Windows: ERROR_TOO_MANY_OPEN_FILES.
    let numbers: &[i32] = if cfg!(windows) { &[4] } else { &[23, 24] };
    error.raw_os_error().is_some_and(|errno| numbers.contains(&errno))
}
