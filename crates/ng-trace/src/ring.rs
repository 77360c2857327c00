//! The queue from one recording thread to the drain: it has memory only while spans wait, grows by blocks up to its limit, and then drops the newest span and counts it.
//!
//! The spans that wait are in blocks, the newest of which leads to the older ones; the whole chain is in
//! one slot. A push takes the chain out, adds its span and puts the chain back. The drain takes the
//! chain for good, so an idle recorder has no memory although its thread never runs again. Whoever has
//! the chain owns it: no memory can be freed or read while the other side writes to it.
//!
//! The drain does not look at rings of which it was not told: the producer [announces](Stored) each
//! chain that it begins, once. If the drain then finds the slot empty, the producer has the chain in
//! its hands for the few nanoseconds of a push, and the drain has to come back.
//!
//! The producer runs towards one limit, as everything here: the next span whose cost is timed, a
//! quarter of the ring further, the position at which the ring would be full, or the end of what
//! the ceiling has permitted. Until there and within a block a span is an exchange, plain stores and
//! two Release stores; only at the limit is the drain's position loaded, and the drain woken if a
//! quarter waits for it. That leaves it the time of three quarters before a span is dropped.

use crate::{
    block::{Block, Chain, Words},
    mutants,
    slot::Slot,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

/// One span in so many has its cost timed.
const TIMED_EACH: u64 = 64;
/// Timed costs that a ring remembers: the newest ones.
const COSTS: usize = if cfg!(all(test, loom)) { 1 } else { 64 };

/// Both ends of the queue. Positions count spans since the ring was made and never wrap.
#[derive(Debug)]
// 64: a cache line, so that rings of two threads share none. `costs` keeps `drained`, which the drain
// writes, apart from what each push writes.
#[repr(C, align(64))]
pub(crate) struct SpanRing {
    waiting: Slot<Block>,
    /// Position below which everything is written, or about to be put back.
    written: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    capped: AtomicU64,
    /// Spans timed so far; its place in `costs` is where the next one goes.
    timed: AtomicU64,
    /// CPU time spent in waking the drain, all of it. Unit: nanoseconds.
    waking: AtomicU64,
    open: AtomicBool,
    costs: [AtomicU32; COSTS],
    /// Position below which the drain has carried everything on.
    drained: AtomicU64,
    /// Most spans that may wait.
    capacity: u64,
}

/// What the drain found in a ring that was announced.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The spans that waited.
    Chain(Chain),
    /// The producer is pushing: come back.
    InHands,
    /// The producer has gone and left nothing.
    Closed,
}

/// What became of a span that was not stored at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is where the drain has been told to look.
    Added,
    /// It begins a chain: tell the drain to look at this ring.
    Begun,
    /// There was no memory for it. Dropped and counted.
    Refused,
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
    /// A ring in which as many spans may wait as `bytes` hold, at least two. It has no memory for
    /// them yet.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            waiting: Slot::new(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            capped: AtomicU64::new(0),
            timed: AtomicU64::new(0),
            waking: AtomicU64::new(0),
            open: AtomicBool::new(false),
            costs: std::array::from_fn(|_| AtomicU32::new(0)),
            drained: AtomicU64::new(0),
            capacity: (bytes / size_of::<Words>()).max(2) as u64,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        // Acquire: whoever sees it closed also sees all that its producer wrote.
        self.open.load(Acquire)
    }

    /// Spans written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Acquire)
    }

    /// Spans that the drain has carried on so far.
    pub(crate) fn drained(&self) -> u64 {
        self.drained.load(Acquire)
    }

    /// Spans dropped for want of room, the refused ones among them.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Spans dropped because there was no memory for them.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(crate) fn capped(&self) -> u64 {
        self.capped.load(Relaxed)
    }

    /// CPU time that the producers spent in waking the drain. Unit: nanoseconds.
    pub(crate) fn waking(&self) -> u64 {
        self.waking.load(Relaxed)
    }

    /// The newest timed costs of a span, in no order, as they were noted. Each is whole; together
    /// they are no snapshot.
    pub(crate) fn costs(&self) -> impl Iterator<Item = u32> {
        let timed = self.timed.load(Relaxed).min(COSTS as u64);
        self.costs[..timed as usize].iter().map(|cost| cost.load(Relaxed))
    }

    /// Takes all that waits. Only the drain calls it, after the ring was announced or closed, and
    /// not again before it has carried on what it took.
    pub(crate) fn take(&self) -> Taken {
        // Before the slot: a producer that had gone has put back what it had.
        let open = self.is_open();
        match self.waiting.take() {
            Some(newest) => Taken::Chain(Chain::from_newest(newest)),
            None if open && !mutants::on("trace-chain-in-hands-forgotten") => Taken::InHands,
            None => Taken::Closed,
        }
    }

    /// The drain has carried on so many of the spans that it took, oldest first.
    pub(crate) fn carried(&self, spans: u64) {
        self.drained.store(self.drained.load(Relaxed) + spans, Release);
    }
}

/// The writing end. Dropping it closes the ring; what is in it stays for the drain.
#[derive(Debug)]
pub(crate) struct Producer {
    written: u64,
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
    /// Opens a new ring. The caller sees to it that it has no other producer.
    pub(crate) fn open(ring: Arc<SpanRing>) -> Self {
        ring.open.store(true, Release);
        // A limit reached already: the first push looks at everything.
        Self { written: 0, limit: 0, timed_at: TIMED_EACH, due_at: 0, permitted: 0, ring }
    }

    pub(crate) fn ring(&self) -> &Arc<SpanRing> {
        &self.ring
    }

    /// Looks for room for the next span and sets the next limit. `permit` is asked for more
    /// spans, and answers with how many, when those it had permitted are used up.
    pub(crate) fn make_room(&mut self, permit: impl FnOnce(u64) -> u64) -> Room {
        let capacity = self.ring.capacity;
        let drained = self.ring.drained.load(Acquire);
        let used = self.written - drained;
        if used >= capacity && !mutants::on("trace-ring-overflows-uncounted") {
            add(&self.ring.dropped, 1);
            return Room::Full;
        }
        let quarter = (capacity / 4).max(1);
        if self.written == self.permitted {
            let granted = permit(quarter);
            if granted == 0 {
                add(&self.ring.capped, 1);
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
        let timed = self.ring.timed.load(Relaxed);
        self.ring.costs[(timed % COSTS as u64) as usize].store(cost, Relaxed);
        self.ring.timed.store(timed + 1, Relaxed);
    }

    /// Remembers what waking the drain cost. Unit: nanoseconds.
    pub(crate) fn note_waking(&self, ns: u64) {
        add(&self.ring.waking, ns);
    }

    /// Stores one span and says true. At the limit, without a block or with a full one the span goes
    /// to `kept` instead: then [`make_room`](Self::make_room) and [`store`](Self::store).
    #[inline(always)]
    pub(crate) fn store_or_keep(&mut self, words: &Words, kept: &mut Words) -> bool {
        if self.written != self.limit
            && let Some(mut newest) = self.ring.waiting.take()
        {
            let goes = newest.has_room();
            if goes {
                self.write(&mut newest, words);
            }
            self.ring.waiting.put(newest);
            if goes {
                return true;
            }
        }
        *kept = *words;
        false
    }

    /// Stores one span after room was made; `fresh` gives an empty block if it needs one.
    pub(crate) fn store(
        &mut self,
        words: &Words,
        fresh: impl FnOnce() -> Option<Box<Block>>,
    ) -> Stored {
        if let Some(mut newest) = self.ring.waiting.take() {
            let goes = newest.has_room();
            if goes {
                self.write(&mut newest, words);
            }
            self.ring.waiting.put(newest);
            if goes {
                return Stored::Added;
            }
        }
        // Nothing in our hands while memory is allocated: the drain may come meanwhile.
        let Some(mut block) = fresh() else {
            if !mutants::on("trace-refusal-uncounted") {
                add(&self.ring.dropped, 1);
                add(&self.ring.refused, 1);
            }
            return Stored::Refused;
        };
        self.write(&mut block, words);
        block.next = self.ring.waiting.take();
        let stored = if block.next.is_none() { Stored::Begun } else { Stored::Added };
        if mutants::on("trace-older-blocks-lost") {
            block.next = None;
        }
        self.ring.waiting.put(block);
        stored
    }

    /// No span comes any more: what is in the ring stays for the drain.
    pub(crate) fn close(&self) {
        self.ring.open.store(false, Release);
    }

    #[inline(always)]
    fn write(&mut self, block: &mut Block, words: &Words) {
        block.push(words);
        self.written += 1;
        // Counted before the drain can have it: it never carries on more than was written.
        self.ring.written.store(self.written, Release);
    }
}

/// A plain add: nobody else writes.
fn add(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Relaxed) + count, Relaxed);
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a recorder and a drain do, in few words, for the tests and the models.
#[cfg(test)]
pub(crate) mod harness {
    use super::*;
    use crate::block::Held;

    /// What became of a pushed span.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Push {
        Stored,
        /// Stored; a quarter of the ring or more waits for the drain, so it is due.
        StoredAndDue,
        /// Dropped and counted.
        Full,
        /// Dropped and counted: the ceiling has nothing left.
        Capped,
        /// Dropped and counted: there was no memory.
        Refused,
    }

    pub(crate) fn held() -> Arc<Held> {
        Arc::new(Held::new(Box::new(())))
    }

    pub(crate) fn ring(spans: usize) -> Arc<SpanRing> {
        Arc::new(SpanRing::new(spans * size_of::<Words>()))
    }

    /// Pushes as `SpanRecorder` does, without a ceiling; `announce` is called for a new chain.
    pub(crate) fn push(
        producer: &mut Producer,
        words: &Words,
        fresh: impl FnOnce() -> Option<Box<Block>>,
        announce: impl FnOnce(),
    ) -> Push {
        let mut kept = *words;
        if producer.store_or_keep(words, &mut kept) {
            return Push::Stored;
        }
        assert_eq!(kept, *words);
        let due = match producer.make_room(|wanted| wanted) {
            Room::Free { due, .. } => due,
            Room::Full => return Push::Full,
            Room::Capped => return Push::Capped,
        };
        match producer.store(&kept, fresh) {
            Stored::Refused => return Push::Refused,
            Stored::Begun => announce(),
            Stored::Added => {}
        }
        if due { Push::StoredAndDue } else { Push::Stored }
    }

    /// Takes what waits and hands it to `each`, oldest first; the emptied blocks are returned.
    /// `None`: the producer had it in its hands.
    #[allow(clippy::vec_box)] // blocks are handed on as they are
    pub(crate) fn drain(ring: &SpanRing, mut each: impl FnMut(&Words)) -> Option<Vec<Box<Block>>> {
        let mut chain = match ring.take() {
            Taken::Chain(chain) => chain,
            Taken::Closed => return Some(Vec::new()),
            Taken::InHands => return None,
        };
        let blocks = std::iter::from_fn(|| chain.next_block());
        let carry = |block: Box<Block>| {
            block.spans().iter().for_each(&mut each);
            ring.carried(block.spans().len() as u64);
            block
        };
        Some(blocks.map(carry).collect())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{harness::*, *};
    use crate::{
        block::{BLOCK_BYTES, BLOCK_SPANS, Held},
        span::SPAN_WORDS,
    };

    /// A ring and who uses it, on one thread.
    struct Rig {
        ring: Arc<SpanRing>,
        producer: Producer,
        held: Arc<Held>,
        announced: usize,
    }

    impl Rig {
        fn new(spans: usize) -> Self {
            let ring = ring(spans);
            let producer = Producer::open(Arc::clone(&ring));
            Self { ring, producer, held: held(), announced: 0 }
        }

        fn push(&mut self, number: u64) -> Push {
            let Self { producer, held, announced, .. } = self;
            push(producer, &words(number), || Held::block(held), || *announced += 1)
        }

        /// The numbers that waited; their memory is freed.
        fn drain(&mut self) -> Vec<u64> {
            if std::mem::take(&mut self.announced) == 0 {
                return Vec::new();
            }
            let mut numbers = Vec::new();
            drain(&self.ring, |span| {
                assert_eq!(*span, words(span[0] / 100));
                numbers.push(span[0] / 100);
            })
            .expect("nobody has it");
            numbers
        }

        fn blocks(&self) -> u64 {
            self.held.bytes() / BLOCK_BYTES
        }
    }

    fn words(number: u64) -> Words {
        std::array::from_fn(|word| number * 100 + word as u64)
    }

    #[test]
    fn spans_come_out_once_and_in_order_over_several_blocks() {
        let mut rig = Rig::new(5_000);
        for round in 0..20 {
            let numbers: Vec<u64> = (round * 1000..round * 1000 + round * 50).collect();
            for number in &numbers {
                assert!(matches!(rig.push(*number), Push::Stored | Push::StoredAndDue));
            }
            assert!(rig.announced <= 1, "each chain once: {}", rig.announced);
            assert_eq!(rig.drain(), numbers);
        }
    }

    #[test]
    fn a_ring_has_memory_only_while_spans_wait() {
        let mut rig = Rig::new(BLOCK_SPANS * 10);
        assert_eq!(rig.blocks(), 0, "none before the first span");
        for number in 0..1000 {
            rig.push(number);
            let waiting = rig.ring.written().div_ceil(BLOCK_SPANS as u64);
            assert_eq!(rig.blocks(), waiting, "as it needs, span {number}");
        }
        assert_eq!(rig.blocks(), 10, "and no more");
        assert_eq!(rig.drain().len(), BLOCK_SPANS * 10);
        assert_eq!(rig.blocks(), 0, "none after the last one was drained");
        assert_eq!(rig.push(1000), Push::Stored);
        assert_eq!((rig.blocks(), rig.drain()), (1, vec![1000]));
    }

    #[test]
    fn a_full_ring_drops_the_newest_and_counts_them_until_it_is_drained() {
        let mut rig = Rig::new(4);
        let pushes: Vec<Push> = (0..6).map(|number| rig.push(number)).collect();
        let [stored, due, full] = [Push::Stored, Push::StoredAndDue, Push::Full];
        assert_eq!(pushes, [stored, due, due, due, full, full]);
        assert_eq!((rig.ring.written(), rig.ring.dropped(), rig.ring.refused()), (4, 2, 0));
        assert_eq!(rig.drain(), [0, 1, 2, 3]);
        assert_eq!(rig.push(9), Push::Stored);
        assert_eq!(rig.drain(), [9]);
    }

    #[test]
    fn what_the_drain_took_and_has_not_carried_on_still_counts_as_waiting() {
        let mut rig = Rig::new(4);
        assert!((0..4).all(|number| rig.push(number) != Push::Full));
        let Taken::Chain(chain) = rig.ring.take() else { panic!("nothing waited") };
        assert_eq!(rig.push(4), Push::Full);
        rig.ring.carried(1);
        assert_eq!([rig.push(5), rig.push(6)], [Push::StoredAndDue, Push::Full]);
        drop(chain);
    }

    #[test]
    fn a_span_without_memory_is_counted_and_the_blocks_that_are_there_go_on() {
        let mut rig = Rig::new(1000);
        let mut blocks: Vec<_> = (0..2).map(|_| Held::block(&rig.held).unwrap()).collect();
        let spans = 3 * BLOCK_SPANS as u64;
        let pushes: Vec<Push> = (0..spans)
            .map(|number| push(&mut rig.producer, &words(number), || blocks.pop(), || ()))
            .collect();
        let refused = pushes.iter().filter(|push| **push == Push::Refused).count();
        assert_eq!(refused, BLOCK_SPANS);
        assert_eq!(rig.ring.refused(), BLOCK_SPANS as u64);
        assert_eq!(rig.ring.dropped(), BLOCK_SPANS as u64, "refused ones are dropped ones");
        rig.announced = 1;
        assert_eq!(rig.drain().len(), 2 * BLOCK_SPANS);
        assert_ne!(rig.push(7), Push::Refused);
        assert_eq!(rig.drain(), [7]);
    }

    #[test]
    fn each_quarter_asks_for_the_drain_again_until_it_has_come() {
        let mut rig = Rig::new(8);
        let due = |rig: &mut Rig, numbers: std::ops::Range<u64>| {
            numbers.filter(|n| rig.push(*n) == Push::StoredAndDue).collect::<Vec<_>>()
        };
        assert_eq!(due(&mut rig, 0..8), [2, 4, 6], "nobody came");
        rig.drain();
        assert_eq!(due(&mut rig, 8..10), [0; 0], "it came");
        assert_eq!(due(&mut rig, 10..14), [10, 12]);
    }

    #[test]
    fn the_ceiling_is_asked_when_its_permits_are_used_up_and_what_it_refuses_is_counted() {
        let (ring, held) = (ring(400), held());
        let mut producer = Producer::open(Arc::clone(&ring));
        let mut asked = Vec::new();
        let mut push = |number, left: u64| {
            if producer.store_or_keep(&words(number), &mut [0; SPAN_WORDS]) {
                return true;
            }
            let room = producer.make_room(|wanted| {
                asked.push((number, wanted));
                left
            });
            let free = room != Room::Capped;
            free && producer.store(&words(number), || Held::block(&held)) != Stored::Refused
        };
        assert_eq!((0..9).filter(|number| push(*number, 3)).count(), 9);
        assert_eq!((9..20).filter(|number| push(*number, 0)).count(), 0);
        assert!(push(20, 1));
        assert_eq!(asked[..4], [(0, 100), (3, 100), (6, 100), (9, 100)]);
        assert_eq!((asked.len(), ring.capped(), ring.written()), (15, 11, 10));
    }

    #[test]
    fn one_span_in_sixty_four_is_timed_and_the_newest_costs_are_remembered() {
        let (ring, held) = (ring(4096), held());
        let mut producer = Producer::open(Arc::clone(&ring));
        let mut timed = Vec::new();
        for number in 0..4000 {
            if producer.store_or_keep(&words(number), &mut [0; SPAN_WORDS]) {
                continue;
            }
            if let Room::Free { timed: true, .. } = producer.make_room(|wanted| wanted) {
                timed.push(number);
                producer.note_cost(number as u32);
            }
            producer.store(&words(number), || Held::block(&held));
        }
        assert_eq!(timed, (64..4000).step_by(64).collect::<Vec<_>>());
        assert!(timed.iter().all(|cost| ring.costs().any(|found| u64::from(found) == *cost)));
        for cost in 0..200 {
            producer.note_cost(cost);
        }
        assert_eq!(ring.costs().min(), Some(200 - COSTS as u32));
    }

    #[test]
    fn a_closed_ring_still_has_what_its_producer_left_and_then_nothing() {
        let mut rig = Rig::new(100);
        rig.push(3);
        assert!(rig.ring.is_open());
        let Rig { ring, producer, held, .. } = rig;
        drop(producer);
        assert!(!ring.is_open());
        let mut seen = Vec::new();
        drain(&ring, |span| seen.push(span[0])).expect("nobody has it");
        assert_eq!((seen.as_slice(), held.bytes()), (&[300][..], 0));
        assert!(matches!(ring.take(), Taken::Closed));
    }

    #[test]
    fn a_ring_that_nobody_drains_frees_its_memory_when_it_is_dropped() {
        let mut rig = Rig::new(10_000);
        assert!((0..10_000).all(|number| rig.push(number) != Push::Full));
        let Rig { ring, producer, held, .. } = rig;
        assert!(held.bytes() >= 10_000 * size_of::<Words>() as u64);
        drop((ring, producer));
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn a_busy_producer_and_a_busy_drain_lose_and_double_nothing() {
        const SPANS: u64 = 300_000;
        let (ring, held) = (ring(256), held());
        let mut producer = Producer::open(Arc::clone(&ring));
        let (announce, announced) = std::sync::mpsc::channel();
        let blocks = Arc::clone(&held);
        let sender = std::thread::spawn(move || {
            for number in 0..SPANS {
                let mut push = || {
                    let announce = || announce.send(()).expect("the test listens");
                    push(&mut producer, &words(number), || Held::block(&blocks), announce)
                };
                while push() == Push::Full {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while announced.recv().is_ok() {
            let mut each = |span: &Words| {
                assert_eq!(*span, words(next));
                next += 1;
            };
            while drain(&ring, &mut each).is_none() {
                std::thread::yield_now();
            }
        }
        sender.join().unwrap();
        assert_eq!((next, ring.written(), ring.drained()), (SPANS, SPANS, SPANS));
        assert_eq!(held.bytes(), 0);
    }
}
