//! A simulated disk, and every directory that a crash of it can leave: for testing code that
//! stands on a log. Behind the feature `sim`, exempt from semver.
//!
//! Run the code under test over a [`SimDisk`] ([`Wal::open_on`](crate::Wal::open_on)), with marks
//! where it learnt something ("record 7 is durable"). The disk keeps a [`Trace`] of all that was
//! done. Go through it boundary by boundary ([`Trace::walk`]); at each, [`Walk::images`] gives the
//! directories that a crash at that moment can leave, and [`recover`] opens one of them. What must
//! hold then is for the test to say.
//!
//! ```
//! use ng_wal::{Wal, WalConfig, sim::{CrashPlan, SimDisk, recover}};
//!
//! let disk = SimDisk::new();
//! let (wal, _) = Wal::open_on(disk.dir("log"), WalConfig::default())?;
//! let lsn = wal.append(1, b"to be kept")?;
//! wal.sync()?;
//! disk.mark(1, lsn.get());
//! wal.close()?;
//!
//! let (mut walk, mut durable) = (disk.trace().walk(), 0);
//! loop {
//!     for crash in walk.images(&CrashPlan::default()) {
//!         let after = recover(SimDisk::from_image(&crash.image).dir("log"), &WalConfig::default())?;
//!         assert!(after.last_lsn.get() >= durable, "{} lost a record", crash.name());
//!     }
//!     match walk.step() {
//!         Some(step) => durable = step.mark.map_or(durable, |(_, lsn)| lsn),
//!         None => break,
//!     }
//! }
//! assert_eq!(durable, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it models: data of a file is durable after a sync of that file, names after a sync of the
//! directory, nothing else ever for certain. Until then each sector of 512 bytes is on the disk in
//! any of its versions, in any order; the one being written may be torn, and with it the block of
//! 4096 bytes around it, unless the write changed nothing there. Names come and go in any order
//! too, but a rename is whole. What it does not: reading back other bytes than were written with
//! no crash between (bit rot; tests damage an [`Image`] for that).

mod disk;
mod images;
mod state;

pub use self::disk::{FailedSync, SimDisk};
pub use self::images::{Crash, CrashKind, CrashPlan, Image, Step, Trace, Walk};
pub use crate::disk::storage::{Access, DirEntry, LogFile, LogIo};

use crate::sync::Arc;
use crate::{OpenError, Records, Recovery, Wal, WalConfig};

/// Opens as [`Wal::open_on`] does, and lets go before a thread of the log starts: what a process
/// leaves that dies when its open returns. Much cheaper than the open itself.
pub fn recover(io: Arc<dyn LogIo>, config: &WalConfig) -> Result<Recovery, OpenError> {
    config.validate()?;
    Ok(crate::recovery::recover(io, config, None)?.recovery)
}

/// [`recover`], as [`Wal::open_replaying`] does it.
pub fn recover_replaying(
    io: Arc<dyn LogIo>,
    config: &WalConfig,
    mut visit: impl FnMut(Records<'_>),
) -> Result<Recovery, OpenError> {
    config.validate()?;
    Ok(crate::recovery::recover(io, config, Some(&mut visit))?.recovery)
}

/// The durable mark of a log, to be read at any time, also when the log is gone (then the last
/// value): made for [`SimDisk::probe`].
pub fn durable_watch(wal: &Wal) -> impl Fn() -> u64 + Send + Sync + 'static {
    let (shared, last) = (Arc::downgrade(wal.shared()), crate::sync::Mutex::new(0));
    move || {
        let mut last = last.lock();
        if let Some(shared) = shared.upgrade() {
            *last = shared.commit.durable();
        }
        *last
    }
}

/// Lengths of the payloads that the frame decoder finds in `bytes`, which begin with a frame's
/// header; for fuzzers. With `repaired`, salt and checksums are made good first, so that the checks
/// behind them are met too.
#[doc(hidden)]
pub fn decode_frame(bytes: &[u8], repaired: bool) -> Option<Vec<usize>> {
    let mut bytes = bytes.to_vec();
    if repaired {
        crate::format::repair_frame(&mut bytes, FUZZ_PLACE);
    }
    crate::format::decode_frame(&bytes, FUZZ_PLACE)
}

const FUZZ_PLACE: crate::format::Place =
    crate::format::Place { salt: 7, seq: crate::SegmentId::new(1), offset: 8192 };

/// Whether the owner in the crash tests is to publish its checkpoint before the log is durable: a
/// breakage of theirs, that stands here because breakages are looked for in sources alone.
#[doc(hidden)]
pub fn checkpoint_is_ahead() -> bool {
    crate::mutants::on("wal-m33-checkpoint-ahead")
}
