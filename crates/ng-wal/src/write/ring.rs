//! The ring between appenders and the writer thread: an array of 128-byte slots, one counter.
//!
//! The idea: an LSN *is* a place in the ring, so one compare-and-swap on one counter claims both.
//! The claim word holds the next LSN and a closed bit: after the bit no LSN can follow. Whoever
//! claimed copies its payload and stamps the slot with the LSN (Release); the one consumer reads
//! slots in LSN order, as far as their stamps go. Room is a *limit*: the first LSN that may not be
//! claimed yet. Only the consumer moves it, so "ring full" and "log full" are the same check.
//!
//! Between claim and stamp there is only a copy of plain bytes: nothing that blocks, allocates or
//! panics. A claimer that loses its processor there holds up those behind it, and no one else can
//! fill the hole.

use std::mem::MaybeUninit;

use bytes::Bytes;
use crossbeam_utils::CachePadded;

use crate::format::record_bytes;
use crate::mutants;
use crate::sync::Arc;
use crate::sync::modelled::UnsafeCell;
use crate::sync::modelled::atomic::{AtomicU64, Ordering};

/// Payloads up to this size lie in the slot itself.
pub(crate) const INLINE_PAYLOAD_BYTES: usize = 80;

const CLOSED: u64 = 1 << 63;

/// What a slot carries.
#[repr(C)]
struct Body {
    /// The payload, when `len` is `LARGE`; taken out by the consumer.
    large: Option<Bytes>,
    /// Encoded bytes of the batch that begins here.
    batch_bytes: u32,
    /// Records in the batch that begins here; 0 in its other records.
    batch: u16,
    /// Bytes of `inline` that count, or `LARGE`.
    len: u8,
    kind: u8,
    inline: [MaybeUninit<u8>; INLINE_PAYLOAD_BYTES],
}

const LARGE: u8 = u8::MAX;

// 128: x86 fetches cache lines in pairs, so two claimers do not disturb each other.
#[repr(C, align(128))]
struct Slot {
    /// LSN of the record that lies here, once it is complete.
    stamp: AtomicU64,
    body: UnsafeCell<Body>,
}

#[cfg(not(all(test, loom)))]
const _: () = {
    assert!(size_of::<Slot>() == 128);
    assert!(align_of::<Slot>() == 128);
    assert!(INLINE_PAYLOAD_BYTES < LARGE as usize);
};

/// Which limit an append obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Ordinary,
    /// May use the log's reserved last bytes.
    Reserved,
}

/// Why nothing was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

/// A payload on its way into a slot.
pub(crate) enum Entry<'a> {
    Inline(&'a [u8]),
    Large(Bytes),
}

pub(crate) struct Ring {
    slots: Box<[Slot]>,
    mask: u64,
    claim: CachePadded<AtomicU64>,
    /// First LSN that may not be claimed: ordinary, and reserved.
    limits: CachePadded<[AtomicU64; 2]>,
}

// SAFETY: a slot's body is written only by the thread that claimed its LSN, and read only by the
// one consumer after the stamp; `limits` keeps a slot from being claimed again before the consumer
// is done with it.
unsafe impl Sync for Ring {}
// SAFETY: a slot owns what it holds, plain bytes and `Bytes`, which are `Send`.
unsafe impl Send for Ring {}

impl Ring {
    /// `slots` must be a power of two; `next_lsn` is the first LSN to be handed out.
    pub(crate) fn new(slots: usize, next_lsn: u64) -> (Arc<Ring>, Consumer) {
        assert!(slots.is_power_of_two());
        let slot = |_| Slot {
            stamp: AtomicU64::new(0),
            body: UnsafeCell::new(Body {
                large: None,
                batch_bytes: 0,
                batch: 0,
                len: 0,
                kind: 0,
                inline: [MaybeUninit::uninit(); INLINE_PAYLOAD_BYTES],
            }),
        };
        let limit = next_lsn + slots as u64;
        let ring = Arc::new(Ring {
            slots: (0..slots).map(slot).collect(),
            mask: slots as u64 - 1,
            claim: CachePadded::new(AtomicU64::new(next_lsn)),
            limits: CachePadded::new([AtomicU64::new(limit), AtomicU64::new(limit)]),
        });
        (ring.clone(), Consumer { ring, next: next_lsn, shown: next_lsn })
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.mask + 1
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.capacity() * self.slot_bytes()
    }

    pub(crate) fn slot_bytes(&self) -> u64 {
        size_of::<Slot>() as u64
    }

    /// First LSN not handed out yet.
    pub(crate) fn next_lsn(&self) -> u64 {
        // Acquire: who reads this position also sees what was claimed before it.
        self.claim.load(Ordering::Acquire) & !CLOSED
    }

    /// Slots that can be claimed now: ordinary ones, and with the reserved ones.
    pub(crate) fn room(&self) -> (u64, u64) {
        let next = self.next_lsn();
        let room = |limit: &AtomicU64| limit.load(Ordering::Acquire).saturating_sub(next);
        (room(&self.limits[0]), room(&self.limits[1]))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.claim.load(Ordering::Acquire) & CLOSED != 0
    }

    /// No LSN is handed out after this; returns the first one that was not.
    pub(crate) fn close(&self) -> u64 {
        self.claim.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED
    }

    /// Claims `n` LSNs in a row; the caller must fill and publish each of them.
    #[inline]
    fn claim(&self, n: u64, class: Class) -> Result<u64, Refused> {
        let limit = &self.limits[class as usize];
        let mut word = self.claim.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            // Acquire: the consumer is done with the slots below the limit.
            let limit = limit.load(Ordering::Acquire);
            if word + n > limit && !mutants::on("wal-m22-fetch-add-claim") {
                return Err(Refused::Full);
            }
            match self.claim.compare_exchange_weak(
                word,
                word + n,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(word),
                Err(now) => word = now,
            }
        }
    }

    #[inline]
    fn slot(&self, lsn: u64) -> &Slot {
        // SAFETY: the mask is one less than the number of slots, a power of two (`new`).
        unsafe { self.slots.get_unchecked((lsn & self.mask) as usize) }
    }

    /// Fills the slot of a claimed LSN and stamps it.
    #[inline]
    fn publish(&self, lsn: u64, kind: u8, entry: Entry<'_>, batch: u16, batch_bytes: u32) {
        let slot = self.slot(lsn);
        slot.body.with_mut(|body| {
            // SAFETY: this thread claimed `lsn` and has not stamped it, so no other thread touches
            // the body; the limit said that the consumer was done with what lay here before.
            let body = unsafe { &mut *body };
            body.kind = kind;
            body.batch = batch;
            body.batch_bytes = batch_bytes;
            match entry {
                Entry::Inline(payload) => {
                    let len = payload.len().min(INLINE_PAYLOAD_BYTES);
                    body.len = len as u8;
                    // SAFETY: `len` is at most the length of both, which do not overlap.
                    unsafe {
                        let to = body.inline.as_mut_ptr().cast::<u8>();
                        std::ptr::copy_nonoverlapping(payload.as_ptr(), to, len);
                    }
                }
                Entry::Large(payload) => {
                    body.len = LARGE;
                    body.large = Some(payload);
                }
            }
        });
        let order = match mutants::on("wal-m23-publish-relaxed") {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        slot.stamp.store(lsn, order);
    }

    /// Appends one record whose payload lies inline. Caller checks its length.
    #[inline]
    pub(crate) fn push_inline(
        &self,
        kind: u8,
        payload: &[u8],
        class: Class,
    ) -> Result<u64, Refused> {
        debug_assert!(payload.len() <= INLINE_PAYLOAD_BYTES);
        let lsn = self.claim(1, class)?;
        let bytes = record_bytes(payload.len()) as u32;
        self.publish(lsn, kind, Entry::Inline(payload), 1, bytes);
        Ok(lsn)
    }

    /// Appends one record whose payload does not.
    pub(crate) fn push_large(
        &self,
        kind: u8,
        payload: Bytes,
        class: Class,
    ) -> Result<u64, Refused> {
        let lsn = self.claim(1, class)?;
        let bytes = record_bytes(payload.len()) as u32;
        self.publish(lsn, kind, Entry::Large(payload), 1, bytes);
        Ok(lsn)
    }

    /// Appends all, as one batch; returns the last LSN. `bytes` is their encoded size. The
    /// iterator must neither block nor allocate: it runs between claim and stamp.
    pub(crate) fn push_batch<'a>(
        &self,
        entries: impl ExactSizeIterator<Item = (u8, Entry<'a>)>,
        bytes: u32,
        class: Class,
    ) -> Result<u64, Refused> {
        let count = entries.len() as u16;
        let first = self.claim(u64::from(count), class)?;
        let mut lsn = first;
        for (kind, entry) in entries {
            let head = if lsn == first { count } else { 0 };
            self.publish(lsn, kind, entry, head, bytes);
            lsn += 1;
        }
        Ok(lsn - 1)
    }
}

/// What is next in the ring: one record, or a batch that must not be parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) count: u64,
    /// Bytes as encoded in a frame.
    pub(crate) bytes: usize,
}

/// The one reading end of a ring; owned by the writer thread.
pub(crate) struct Consumer {
    ring: Arc<Ring>,
    next: u64,
    /// Records below this are known to be stamped.
    shown: u64,
}

impl Consumer {
    /// First LSN not taken yet.
    pub(crate) fn next_lsn(&self) -> u64 {
        self.next
    }

    fn is_published(&self, lsn: u64) -> bool {
        // Acquire: pairs with the stamp, so the body is complete.
        self.ring.slot(lsn).stamp.load(Ordering::Acquire) == lsn
    }

    /// What can be taken now: a whole batch, or nothing.
    pub(crate) fn peek(&mut self) -> Option<Head> {
        if self.shown <= self.next {
            if !self.is_published(self.next) {
                return None;
            }
            self.shown = self.next + 1;
        }
        let head = self.ring.slot(self.next).body.with(|body| {
            // SAFETY: stamped with this LSN, and not given back before `release`.
            let body = unsafe { &*body };
            Head { count: u64::from(body.batch), bytes: body.batch_bytes as usize }
        });
        while self.shown < self.next + head.count {
            if !self.is_published(self.shown) {
                return None;
            }
            self.shown += 1;
        }
        Some(head)
    }

    /// Takes the next record, which `peek` has shown. Its slot stays taken until `release`.
    pub(crate) fn take<R>(&mut self, f: impl FnOnce(u8, &[u8]) -> R) -> R {
        assert!(self.next < self.shown, "take without peek");
        let result = self.ring.slot(self.next).body.with_mut(|body| {
            // SAFETY: stamped (`peek` saw it), and not given back before `release`.
            let body = unsafe { &mut *body };
            if body.len == LARGE {
                let payload = body.large.take().unwrap_or_default();
                return f(body.kind, &payload);
            }
            let len = usize::from(body.len);
            // SAFETY: the appender wrote the first `len` bytes before it stamped the slot.
            let payload = unsafe { std::slice::from_raw_parts(body.inline.as_ptr().cast(), len) };
            f(body.kind, payload)
        });
        self.next += 1;
        result
    }

    /// Gives the slots of all taken records back; each class gets so many at most, those counted
    /// that are claimed and not taken.
    pub(crate) fn release(&self, ordinary: u64, reserved: u64) {
        for (limit, slots) in self.ring.limits.iter().zip([ordinary, reserved]) {
            // Release: our reads of the slots come before their next claim.
            limit.store(self.next + slots.min(self.ring.capacity()), Ordering::Release);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn take(consumer: &mut Consumer) -> Option<(u8, Vec<u8>)> {
        consumer.peek()?;
        Some(consumer.take(|kind, payload| (kind, payload.to_vec())))
    }

    #[test]
    fn a_full_ring_says_so_leaves_no_hole_and_takes_more_after_a_release() {
        let (ring, mut consumer) = Ring::new(8, 1);
        for lsn in 1..=8 {
            assert_eq!(ring.push_inline(lsn as u8, b"x", Class::Ordinary), Ok(lsn));
        }
        assert_eq!(ring.push_inline(9, b"x", Class::Ordinary), Err(Refused::Full));
        assert_eq!(ring.next_lsn(), 9);
        assert_eq!(take(&mut consumer), Some((1, b"x".to_vec())));
        assert_eq!(ring.push_inline(9, b"x", Class::Ordinary), Err(Refused::Full));
        consumer.release(8, 8);
        assert_eq!(ring.push_inline(9, b"x", Class::Ordinary), Ok(9));
        assert_eq!(ring.push_inline(10, b"x", Class::Ordinary), Err(Refused::Full));
    }

    #[test]
    fn a_shut_class_is_refused_while_the_reserved_one_goes_on() {
        let (ring, consumer) = Ring::new(8, 1);
        consumer.release(0, 8);
        assert_eq!(ring.push_inline(1, b"", Class::Ordinary), Err(Refused::Full));
        assert_eq!(ring.push_inline(1, b"", Class::Reserved), Ok(1));
    }

    #[test]
    fn after_close_no_lsn_follows() {
        let (ring, _consumer) = Ring::new(8, 5);
        assert_eq!(ring.push_inline(1, b"", Class::Ordinary), Ok(5));
        assert_eq!(ring.close(), 6);
        assert_eq!(ring.push_inline(1, b"", Class::Ordinary), Err(Refused::Closed));
        assert_eq!(ring.close(), 6);
    }

    #[test]
    fn a_batch_is_shown_whole_or_not_at_all() {
        let (ring, mut consumer) = Ring::new(8, 1);
        let first = ring.claim(3, Class::Ordinary).unwrap();
        ring.publish(first, 1, Entry::Inline(b"a"), 3, 24);
        ring.publish(first + 2, 1, Entry::Inline(b"c"), 0, 24);
        assert_eq!(consumer.peek(), None);
        ring.publish(first + 1, 1, Entry::Large(Bytes::from_static(b"b")), 0, 24);
        assert_eq!(consumer.peek(), Some(Head { count: 3, bytes: 24 }));
        for expected in [b"a", b"b", b"c"] {
            assert_eq!(consumer.take(|_, payload| payload.to_vec()), expected);
        }
        assert_eq!(consumer.peek(), None);
    }

    #[test]
    fn slots_are_used_again_many_times_over_without_mixing_records() {
        let (ring, mut consumer) = Ring::new(8, 1);
        let seen = std::thread::scope(|scope| {
            for producer in 0..3u8 {
                let ring = &ring;
                scope.spawn(move || {
                    for i in 0..5_000u64 {
                        let payload = [producer; 70];
                        let payload = &payload[..(i % 70) as usize];
                        while ring.push_inline(producer, payload, Class::Ordinary).is_err() {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let mut seen = [0u64; 3];
            while seen.iter().sum::<u64>() < 15_000 {
                match take(&mut consumer) {
                    Some((kind, payload)) => {
                        let i = &mut seen[usize::from(kind)];
                        assert_eq!(payload, vec![kind; (*i % 70) as usize]);
                        *i += 1;
                    }
                    None => {
                        consumer.release(8, 8);
                        std::thread::yield_now();
                    }
                }
            }
            seen
        });
        assert_eq!(seen, [5_000; 3]);
    }
}
