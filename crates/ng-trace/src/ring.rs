//! The queue from one recording thread to the drain: fixed size, newest dropped and counted when full. One producer at a time; more would mix spans, though never memory.
//!
//! The producer runs towards one limit, as everything here: the next span whose cost is timed, a
//! quarter of the ring further, the position at which the ring would be full, or the end of what
//! the ceiling has permitted. Until there a span is plain stores and one Release store of the
//! position; only at the limit is the drain's position loaded, and the drain woken if a quarter
//! waits for it. That leaves it the time of three quarters before a span is dropped. Slots are
//! relaxed atomic words, which cost what plain ones cost and need no unsafe code.

use crate::{
    mutants,
    span::SPAN_WORDS,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};
use crossbeam_utils::CachePadded;

type Words = [u64; SPAN_WORDS];

/// One span in so many has its cost timed.
const TIMED_EACH: u64 = 64;
/// Timed costs that a ring remembers: the newest ones.
const COSTS: usize = if cfg!(all(test, loom)) { 1 } else { 64 };

/// Both ends of the queue. Positions count spans since the ring was made and never wrap.
#[derive(Debug)]
pub(crate) struct SpanRing {
    slots: Box<[[AtomicU64; SPAN_WORDS]]>,
    producer: CachePadded<ProducerSide>,
    /// Position below which the drain has taken everything.
    drained: CachePadded<AtomicU64>,
}

#[derive(Debug)]
struct ProducerSide {
    /// Position below which everything is written.
    written: AtomicU64,
    dropped: AtomicU64,
    capped: AtomicU64,
    open: AtomicBool,
    /// Spans timed so far; its place in `costs` is where the next one goes.
    timed: AtomicU64,
    costs: [AtomicU32; COSTS],
    /// CPU time spent in waking the drain, all of it. Unit: nanoseconds.
    waking: AtomicU64,
}

/// What became of a pushed span.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    Stored,
    /// Stored; a quarter of the ring or more waits for the drain, so it is due.
    StoredAndDue,
    /// Dropped and counted.
    Full,
    /// Dropped and counted: the ceiling has nothing left.
    Capped,
}

/// What the producer found at its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// The next span may be stored: whether its cost is to be timed, and the drain to be woken.
    Free { timed: bool, due: bool },
    /// The ring is full; counted.
    Full,
    /// The ceiling has nothing left; counted.
    Capped,
}

impl SpanRing {
    /// A ring with as many spans as `bytes` hold, at least two. All its pages are touched here,
    /// so no later push has to fault one in.
    pub(crate) fn new(bytes: usize) -> Self {
        let capacity = (bytes / size_of::<Words>()).max(2);
        let slot = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            slots: std::iter::repeat_with(slot).take(capacity).collect(),
            producer: CachePadded::new(ProducerSide {
                written: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
                capped: AtomicU64::new(0),
                open: AtomicBool::new(false),
                timed: AtomicU64::new(0),
                costs: std::array::from_fn(|_| AtomicU32::new(0)),
                waking: AtomicU64::new(0),
            }),
            drained: CachePadded::new(AtomicU64::new(0)),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    pub(crate) fn is_open(&self) -> bool {
        // Acquire: whoever sees it closed also sees all that its producer wrote.
        self.producer.open.load(Acquire)
    }

    /// Spans written so far. What they say is visible after this.
    pub(crate) fn written(&self) -> u64 {
        self.producer.written.load(Acquire)
    }

    pub(crate) fn drained(&self) -> u64 {
        self.drained.load(Acquire)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.producer.dropped.load(Relaxed)
    }

    pub(crate) fn capped(&self) -> u64 {
        self.producer.capped.load(Relaxed)
    }

    /// CPU time that the producers spent in waking the drain. Unit: nanoseconds.
    pub(crate) fn waking(&self) -> u64 {
        self.producer.waking.load(Relaxed)
    }

    /// The newest timed costs of a span, in no order, as they were noted. Each is whole; together
    /// they are no snapshot.
    pub(crate) fn costs(&self) -> impl Iterator<Item = u32> {
        let timed = self.producer.timed.load(Relaxed).min(COSTS as u64);
        self.producer.costs[..timed as usize].iter().map(|cost| cost.load(Relaxed))
    }

    /// Takes up to `max` spans below position `until`, oldest first, and returns how many. Only
    /// the drain calls it, with an `until` that [`written`](Self::written) gave.
    pub(crate) fn drain(&self, until: u64, max: usize, mut take: impl FnMut(&Words)) -> usize {
        let drained = self.drained.load(Relaxed);
        let count = (until - drained).min(max as u64);
        if mutants::on("trace-ring-freed-before-it-is-read") {
            self.drained.store(drained + count, Release);
        }
        let mut place = self.place(drained);
        for _ in 0..count {
            let slot = &self.slots[place];
            take(&std::array::from_fn(|word| slot[word].load(Relaxed)));
            place = if place + 1 == self.slots.len() { 0 } else { place + 1 };
        }
        // Release: the producer that sees the place free also sees these loads done.
        self.drained.store(drained + count, Release);
        count as usize
    }

    fn place(&self, position: u64) -> usize {
        (position % self.slots.len() as u64) as usize
    }
}

/// The writing end. Dropping it closes the ring; what is in it stays for the drain.
#[derive(Debug)]
pub(crate) struct Producer {
    written: u64,
    /// Where `written` falls in the slots; kept, since a division costs more than the span.
    place: usize,
    /// Position at which the cold path has to look again.
    limit: u64,
    /// Position of the next span whose cost is timed.
    timed_at: u64,
    /// Position from which on a waiting quarter wakes the drain.
    due_at: u64,
    /// Position up to which the ceiling has let us.
    permitted: u64,
    ring: Arc<SpanRing>,
}

impl Producer {
    /// Opens the ring. The caller sees to it that it has no other producer.
    pub(crate) fn open(ring: Arc<SpanRing>) -> Self {
        ring.producer.open.store(true, Relaxed);
        let written = ring.producer.written.load(Acquire);
        // A limit reached already: the first push looks where the drain is.
        Self {
            written,
            place: ring.place(written),
            limit: written,
            timed_at: written + TIMED_EACH,
            due_at: written,
            permitted: written,
            ring,
        }
    }

    /// Whether [`make_room`](Self::make_room) is due before the next [`store`](Self::store).
    #[inline(always)]
    pub(crate) fn at_limit(&self) -> bool {
        self.written == self.limit
    }

    /// Stores a span without a ceiling and without timing: what `SpanRecorder` does, in one call.
    #[cfg(test)]
    pub(crate) fn push(&mut self, words: &Words) -> Push {
        let mut stored = Push::Stored;
        if self.at_limit() {
            match self.make_room(|wanted| wanted) {
                Room::Free { due, .. } if due => stored = Push::StoredAndDue,
                Room::Free { .. } => {}
                Room::Full => return Push::Full,
                Room::Capped => return Push::Capped,
            }
        }
        self.store(words);
        stored
    }

    /// Looks for room for the next span and sets the next limit. `permit` is asked for more
    /// spans, and answers with how many, when those it had permitted are used up.
    #[cold]
    pub(crate) fn make_room(&mut self, permit: impl FnOnce(u64) -> u64) -> Room {
        let capacity = self.ring.slots.len() as u64;
        // Acquire pairs with the drain's Release: its loads are done before our stores.
        let drained = self.ring.drained.load(Acquire);
        let used = self.written - drained;
        if used >= capacity && !mutants::on("trace-ring-overwrites-uncounted") {
            add(&self.ring.producer.dropped, 1);
            return Room::Full;
        }
        let quarter = (capacity / 4).max(1);
        if self.written == self.permitted {
            let granted = permit(quarter);
            if granted == 0 {
                add(&self.ring.producer.capped, 1);
                return Room::Capped;
            }
            self.permitted += granted;
        }
        let timed = self.written >= self.timed_at;
        if timed {
            self.timed_at = self.written + TIMED_EACH;
        }
        let mut due = false;
        if self.written >= self.due_at {
            due = used >= quarter;
            self.due_at = self.written + quarter;
        }
        let ends = [drained + capacity, self.permitted, self.timed_at, self.due_at];
        self.limit = ends.into_iter().fold(u64::MAX, u64::min).max(self.written + 1);
        Room::Free { timed, due }
    }

    /// Has [`make_room`](Self::make_room) called before the next span, whatever it found before.
    pub(crate) fn stop_here(&mut self) {
        self.limit = self.written;
    }

    /// Takes back what was permitted and not yet used.
    pub(crate) fn forget_permits(&mut self) {
        self.permitted = self.written;
    }

    /// Remembers what one span cost.
    pub(crate) fn note_cost(&self, cost: u32) {
        let producer = &self.ring.producer;
        let timed = producer.timed.load(Relaxed);
        producer.costs[(timed % COSTS as u64) as usize].store(cost, Relaxed);
        producer.timed.store(timed + 1, Relaxed);
    }

    /// Remembers what waking the drain cost. Unit: nanoseconds.
    pub(crate) fn note_waking(&self, ns: u64) {
        add(&self.ring.producer.waking, ns);
    }

    /// Stores one span and says true; [at the limit](Self::at_limit) it goes to `kept` instead.
    #[inline(always)]
    pub(crate) fn store_or_keep(&mut self, words: &Words, kept: &mut Words) -> bool {
        let goes = !self.at_limit();
        if goes {
            self.store(words);
        } else {
            *kept = *words;
        }
        goes
    }

    /// Stores one span. Not [at the limit](Self::at_limit), or after room was made.
    #[inline(always)]
    pub(crate) fn store(&mut self, words: &Words) {
        for (cell, word) in self.ring.slots[self.place].iter().zip(words) {
            cell.store(*word, Relaxed);
        }
        self.place = if self.place + 1 == self.ring.slots.len() { 0 } else { self.place + 1 };
        self.written += 1;
        self.ring.producer.written.store(self.written, Release);
    }
}

/// A plain add: nobody else writes.
fn add(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Relaxed) + count, Relaxed);
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.ring.producer.open.store(false, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(capacity: usize) -> Arc<SpanRing> {
        Arc::new(SpanRing::new(capacity * size_of::<Words>()))
    }

    fn words(number: u64) -> Words {
        std::array::from_fn(|word| number * 100 + word as u64)
    }

    fn drain_all(ring: &SpanRing) -> Vec<u64> {
        let mut numbers = Vec::new();
        ring.drain(ring.written(), usize::MAX, |words| {
            assert_eq!(*words, self::words(words[0] / 100));
            numbers.push(words[0] / 100);
        });
        numbers
    }

    #[test]
    fn spans_come_out_once_and_in_order_around_the_end_of_the_ring() {
        let ring = ring(5);
        let mut producer = Producer::open(Arc::clone(&ring));
        for round in 0..20 {
            let numbers: Vec<u64> = (round * 3..round * 3 + 3).collect();
            for number in &numbers {
                assert_ne!(producer.push(&words(*number)), Push::Full);
            }
            assert_eq!(drain_all(&ring), numbers);
        }
    }

    #[test]
    fn a_full_ring_drops_the_newest_and_counts_them_until_it_is_drained() {
        let ring = ring(4);
        let mut producer = Producer::open(Arc::clone(&ring));
        let pushes: Vec<Push> = (0..6).map(|number| producer.push(&words(number))).collect();
        let [stored, due, full] = [Push::Stored, Push::StoredAndDue, Push::Full];
        assert_eq!(pushes, [stored, due, due, due, full, full]);
        assert_eq!((ring.written(), ring.dropped()), (4, 2));
        assert_eq!(drain_all(&ring), [0, 1, 2, 3]);
        assert_eq!(producer.push(&words(9)), Push::Stored);
        assert_eq!(drain_all(&ring), [9]);
    }

    #[test]
    fn each_quarter_asks_for_the_drain_again_until_it_has_come() {
        let ring = ring(8);
        let mut producer = Producer::open(Arc::clone(&ring));
        let mut due = |numbers: std::ops::Range<u64>| {
            numbers.filter(|n| producer.push(&words(*n)) == Push::StoredAndDue).collect::<Vec<_>>()
        };
        assert_eq!(due(0..8), [2, 4, 6], "nobody came");
        drain_all(&ring);
        assert_eq!(due(8..10), [0; 0], "it came");
        assert_eq!(due(10..14), [10, 12]);
    }

    #[test]
    fn the_ceiling_is_asked_when_its_permits_are_used_up_and_what_it_refuses_is_counted() {
        let ring = ring(400);
        let mut producer = Producer::open(Arc::clone(&ring));
        let mut asked = Vec::new();
        let mut push = |number, left: u64| {
            if producer.at_limit() {
                let room = producer.make_room(|wanted| {
                    asked.push((number, wanted));
                    left
                });
                if room == Room::Capped {
                    return false;
                }
            }
            producer.store(&words(number));
            true
        };
        assert_eq!((0..9).filter(|number| push(*number, 3)).count(), 9);
        assert_eq!((9..20).filter(|number| push(*number, 0)).count(), 0);
        assert!(push(20, 1));
        assert_eq!(asked[..4], [(0, 100), (3, 100), (6, 100), (9, 100)]);
        assert_eq!((asked.len(), ring.capped(), ring.written()), (15, 11, 10));
    }

    #[test]
    fn one_span_in_sixty_four_is_timed_and_the_newest_costs_are_remembered() {
        let ring = ring(4096);
        let mut producer = Producer::open(Arc::clone(&ring));
        let mut timed = Vec::new();
        for number in 0..4000 {
            if producer.at_limit()
                && let Room::Free { timed: true, .. } = producer.make_room(|wanted| wanted)
            {
                timed.push(number);
                producer.note_cost(number as u32);
            }
            producer.store(&words(number));
        }
        assert_eq!(timed, (64..4000).step_by(64).collect::<Vec<_>>());
        assert!(timed.iter().all(|cost| ring.costs().any(|found| u64::from(found) == *cost)));
        for cost in 0..200 {
            producer.note_cost(cost);
        }
        assert_eq!(ring.costs().min(), Some(200 - COSTS as u32));
    }

    #[test]
    fn a_second_producer_goes_on_where_the_first_ended() {
        let ring = ring(4);
        let mut first = Producer::open(Arc::clone(&ring));
        assert!(ring.is_open());
        for number in 0..3 {
            first.push(&words(number));
        }
        drop(first);
        assert!(!ring.is_open());
        let mut second = Producer::open(Arc::clone(&ring));
        assert_eq!(second.push(&words(3)), Push::StoredAndDue);
        assert_eq!(second.push(&words(4)), Push::Full);
        assert_eq!(drain_all(&ring), [0, 1, 2, 3]);
    }

    #[test]
    fn a_busy_producer_and_a_busy_drain_lose_and_double_nothing() {
        const SPANS: u64 = 300_000;
        let ring = ring(256);
        let mut producer = Producer::open(Arc::clone(&ring));
        let sender = std::thread::spawn(move || {
            for number in 0..SPANS {
                while producer.push(&words(number)) == Push::Full {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < SPANS {
            std::thread::yield_now();
            ring.drain(ring.written(), 50, |words| {
                assert_eq!(*words, self::words(next));
                next += 1;
            });
        }
        sender.join().unwrap();
        assert_eq!(ring.written(), SPANS);
    }
}
