//! What a recorder says about itself in plain numbers; the reader of a file has its own summary.

/// Where the ring lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backing {
    /// Memory of this process only: gone when it ends.
    #[default]
    Anonymous,
    /// A mapped file: there after a kill.
    File,
    /// A mapped file that lost pages: somebody cut it, or a copy-on-write filesystem was full. What
    /// is recorded into these is memory of this process only.
    CutFile,
    /// The recording of the process that forked this one: it stays as its parent makes it, and what is
    /// recorded here is thrown away and counted in [`BlackboxStats::inherited_events_total`].
    Inherited,
}

/// Read field by field: sums may miss events in flight. `_total` only grows, the others are levels.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BlackboxStats {
    /// Events recorded since open, over all lanes. Anchors are left out.
    pub events_total: u64,
    /// Of these, how many were overwritten by newer ones: the normal life of a ring.
    pub overwritten_total: u64,
    /// Events that were never written, since another thread, a whole lap behind, was still writing
    /// into their slot of the shared lane. Not part of `events_total`.
    pub dropped_total: u64,
    /// Calls of [`Recorder::lane`](crate::Recorder::lane) that got the shared lane, all own ones
    /// being taken.
    pub shared_lanes_total: u64,
    /// Lanes that a thread has for itself now.
    pub lanes_in_use: u64,
    /// Where the ring lives.
    pub backing: Backing,
    /// Recordings that could not be brought to the disk, as [`Recorder::flush`](crate::Recorder::flush)
    /// and a panic want it. A kill alone takes nothing of them.
    pub flush_errors_total: u64,
    /// Dumps at a panic that could not be written whole; see
    /// [`install_panic_hook_with_dump`](crate::install_panic_hook_with_dump).
    pub dump_errors_total: u64,
    /// Opens, 0 or 1, at which recordings beyond those to be kept could not be removed, so that they take
    /// room until the next open.
    pub retention_errors_total: u64,
    /// Events that were thrown away since this process is a child of the one that opened the recorder.
    pub inherited_events_total: u64,
    /// Pages that the file lost while it was mapped; see
    /// [`install_bus_guard`](crate::install_bus_guard).
    pub lost_pages: u64,
    /// Torn events found in the file of the run before. Counted soon after the open; who asks earlier waits a millisecond.
    pub previous_torn: u64,
}
