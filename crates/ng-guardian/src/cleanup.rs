//! Eviction by one algorithm, a threshold scan. Knows keys and amounts; what a member is, and how
//! it is evicted, the population knows.
//!
//! One pass counts the members by the upper half of their 32-bit key; where the bin in which the
//! cut falls is needed only in part, a second pass splits it by the lower half. So the cut is one
//! exact key, found in 512 KiB whatever the population's size. Then everything *below* the cut is
//! evicted, and after that as many *at* the cut as are still needed: lowest keys first, without
//! sorting. Members that may not go are not counted, so they move no cut. Eviction goes in bounded batches, between which the need is looked at again, so it
//! stops early when others free enough.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::config::{CleanupPolicy, Evict};
use crate::mutants;

/// What members are ranked by: the lowest goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CleanupKey(u32);

impl CleanupKey {
    /// A key from a number: a timestamp in seconds, a strength.
    pub const fn from_u32(value: u32) -> Self {
        Self(value)
    }

    /// A key from a float, in the float's order (`f32::total_cmp`): a weight.
    pub const fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        // Negative floats order backwards: flip all their bits, and the sign bit of the others.
        Self(if bits >> 31 == 1 { !bits } else { bits | 1 << 31 })
    }

    /// The key as a number, in the same order.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A member that a scan met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its key under the policy of the scan.
    pub key: CleanupKey,
    /// Whether it would survive a restart of its owner, as a logged one does. Evicted only with
    /// [`Evict::All`].
    pub durable: bool,
    /// Never to be evicted.
    pub pinned: bool,
}

impl Candidate {
    /// Whether a cleanup with this setting may evict it.
    pub fn is_evictable(&self, evict: Evict) -> bool {
        let pinned = self.pinned && !mutants::on("guardian-pinned-evicted");
        let kept = self.durable && evict != Evict::All && !mutants::on("guardian-durable-evicted");
        !pinned && !kept
    }
}

/// Which members to evict: those that may go and whose key is at most `key_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// Says what the key is.
    pub policy: CleanupPolicy,
    /// The highest key that goes.
    pub key_max: CleanupKey,
    /// Which members may go at all.
    pub evict: Evict,
}

impl Cut {
    /// Whether this cut takes `candidate`. For a population to ask again right before it evicts,
    /// because the member may have changed since it was met.
    pub fn takes(&self, candidate: &Candidate) -> bool {
        candidate.is_evictable(self.evict) && candidate.key <= self.key_max
    }
}

/// Where an eviction goes on: a position in the population's own order, opaque to the guardian.
/// Each sweep begins at the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// What one call of [`Population::evict`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Members evicted. Their credits are released by the population, as after any delete.
    pub count: u64,
    /// Memory that really went back to the system. Unit: bytes.
    pub bytes_freed: u64,
    /// Where to go on, beyond where this call began; `None` at the population's end.
    pub next: Option<Position>,
}

/// Members that can be evicted: implemented by whoever owns them.
///
/// Called on the thread that calls [`Guardian::cleanup`](crate::Guardian::cleanup), with the
/// guardian's cleanup lock held: reserving and releasing are allowed, another cleanup is not.
pub trait Population {
    /// Bytes that a member occupies, on average; turns bytes that are wanted back into a number
    /// of members. Unit: bytes; 0 counts as 1.
    fn member_bytes(&self) -> u64;

    /// Whether any member could be evicted under this setting, as far as is known without a look
    /// at them. A population that says `false` is not scanned: one all of whose members are durable
    /// may say so to [`Evict::Unlogged`]. `true` unless implemented.
    fn has_evictable(&self, evict: Evict) -> bool {
        let _any = evict;
        true
    }

    /// Shows each member to `visit`, those that may not be evicted too, until that says `Break`.
    /// Members that come or go meanwhile may be met or not.
    fn scan(&self, policy: CleanupPolicy, visit: &mut dyn FnMut(Candidate) -> ControlFlow<()>);

    /// Evicts up to `max` members that `cut` takes, from `from` on in the population's own order.
    /// A victim that changed so that the cut no longer takes it is skipped. May stop early to
    /// keep a call short; `next` then says where to go on.
    fn evict(&self, cut: Cut, from: Position, max: u32) -> Evicted;

    /// Gives back memory that nobody uses any more; returns the bytes that really went back to the
    /// system. Called once at the end of a cleanup that evicted something, after idle credits were
    /// recalled: what only their leases had kept is free by then. Does nothing unless implemented.
    fn give_back(&self) -> u64 {
        0
    }
}

/// How much a cleanup is to evict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CleanupGoal {
    /// Down to the low-water mark, judged when the cleanup begins and again before each batch. A
    /// caller that waited for another's cleanup so finds nothing left to do.
    LowWater,
    /// These amounts, whatever the level.
    Amount {
        /// Members, each of which holds one credit.
        credits: u64,
        /// Memory to give back, as far as evicting as many members as occupy it achieves that.
        /// Unit: bytes.
        bytes: u64,
    },
}

/// What a cleanup did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanupReport {
    /// Members that could have been evicted.
    pub considered: u64,
    /// Members evicted.
    pub evicted: u64,
    /// Memory that really went back, as the population reports it. Unit: bytes.
    pub bytes_freed: u64,
    /// Passes over the population; 0 if there was nothing to do, or nothing that would have helped.
    pub scans: u64,
    /// Calls into the population that evicted something.
    pub batches: u64,
    /// Members had to go, but none was looked for: an earlier cleanup found none that may go and
    /// nothing has changed since, or the population says that there is none.
    pub skipped: bool,
    /// How long it took, waiting for another cleanup included.
    pub elapsed: Duration,
    /// Stopped by the caller before it was done.
    pub cancelled: bool,
}

/// The amounts a goal comes to when a cleanup begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) credits: u64,
    pub(crate) bytes: u64,
}

impl Amounts {
    pub(crate) fn is_zero(self) -> bool {
        self == Self::default()
    }
}

/// Settings of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) policy: CleanupPolicy,
    pub(crate) batch: u32,
    pub(crate) evict: Evict,
}

/// One cleanup under way, or done.
pub(crate) struct Cleanup<'a> {
    population: &'a dyn Population,
    rules: Rules,
    goal: Amounts,
    /// Credits that still must go, whatever has been evicted here: falls when others delete.
    credits_over: &'a dyn Fn() -> u64,
    stop: &'a dyn Fn() -> bool,
    /// `None`: the goal stands whatever the members are.
    low_water: Option<f64>,
    pub(crate) report: CleanupReport,
    /// All that may go may stay.
    pub(crate) all_may_stay: bool,
    /// Members that the first pass met, whether or not they may go.
    pub(crate) met: u64,
}

/// What is left of a goal that was taken of the whole, down to this share of a limit, with so many members that may not go.
fn beside(goal: Amounts, low_water: f64, kept: u64, member_bytes: u64) -> Amounts {
    let above = |amount: u64| (amount as f64 * (1.0 - low_water)) as u64;
    Amounts {
        credits: goal.credits.saturating_sub(above(kept)),
        bytes: goal.bytes.saturating_sub(above(kept.saturating_mul(member_bytes))),
    }
}

/// Where the cut falls.
enum Threshold {
    /// All with this key or a lower one go.
    UpTo(CleanupKey),
    /// All with a lower key go, and some of those that have it.
    PartOf(CleanupKey),
}

/// Members between two looks at `stop` in a scan: about 0.1 ms.
const SCAN_STRIDE: u64 = 1 << 16;

const BINS: usize = 1 << 16;

impl<'a> Cleanup<'a> {
    pub(crate) fn new(
        population: &'a dyn Population,
        rules: Rules,
        goal: Amounts,
        credits_over: &'a dyn Fn() -> u64,
        stop: &'a dyn Fn() -> bool,
    ) -> Self {
        let report = CleanupReport::default();
        Self {
            population,
            rules,
            goal,
            credits_over,
            stop,
            low_water: None,
            report,
            all_may_stay: false,
            met: 0,
        }
    }

    /// The same where the goal is a mark, this share of a limit: what may not go takes its part of the limit first, and
    /// the mark is that of the rest. So few that may go beside many that may not are not evicted for a mark that they
    /// cannot reach.
    pub(crate) fn down_to(self, low_water: f64) -> Self {
        Self { low_water: Some(low_water), ..self }
    }

    pub(crate) fn run(mut self) -> Self {
        let need = self.need();
        if need == 0 || self.stopped() {
            return self;
        }
        match self.find_threshold(need) {
            None => {}
            Some(Threshold::UpTo(key)) => self.sweep(key),
            Some(Threshold::PartOf(key)) => {
                if let Some(below) = key.get().checked_sub(1)
                    && !mutants::on("guardian-cut-takes-any")
                {
                    self.sweep(CleanupKey(below));
                }
                self.sweep(key);
            }
        }
        self
    }

    /// Looked for members to evict, needed some, and evicted none.
    pub(crate) fn was_vain(&self) -> bool {
        let CleanupReport { scans, evicted, cancelled, .. } = self.report;
        scans > 0 && evicted == 0 && !cancelled && (self.all_may_stay || self.need() > 0)
    }

    /// Members that still must go.
    fn need(&self) -> u64 {
        let Self { goal, report, .. } = self;
        let credits = match goal.credits.saturating_sub(report.evicted) {
            0 => 0,
            credits if mutants::on("guardian-cleanup-past-the-mark") => credits,
            credits => credits.min((self.credits_over)()),
        };
        if report.bytes_freed >= goal.bytes {
            return credits;
        }
        let members = goal.bytes.div_ceil(self.population.member_bytes().max(1));
        credits.max(members.saturating_sub(report.evicted))
    }

    /// Where to cut so that `need` members go; `None` if there are no members, or if stopped.
    fn find_threshold(&mut self, need: u64) -> Option<Threshold> {
        let (upper, met) = self.histogram(|key| Some(key >> 16))?;
        self.met = met;
        let members: u64 = upper.iter().sum();
        self.report.considered += members;
        let need = match self.low_water.filter(|_| !mutants::on("guardian-mark-of-the-whole")) {
            Some(share) => {
                let member_bytes = self.population.member_bytes();
                self.goal = beside(self.goal, share, met - members, member_bytes);
                self.all_may_stay = self.goal.is_zero();
                need.min(self.need())
            }
            None => need,
        };
        if need == 0 {
            return None;
        }
        if members <= need {
            return (members > 0).then_some(Threshold::UpTo(CleanupKey(u32::MAX)));
        }
        let (high, need) = locate(&upper, need)?;
        let key = |low| CleanupKey((high << 16) | low);
        if upper[high as usize] == need {
            return Some(Threshold::UpTo(key(0xffff)));
        }
        let (lower, _) = self.histogram(|key| (key >> 16 == high).then_some(key & 0xffff))?;
        Some(match locate(&lower, need) {
            Some((low, _)) => Threshold::PartOf(key(low)),
            None => Threshold::UpTo(key(0xffff)), // members left this bin since the first pass
        })
    }

    /// Counts the members that may go by `bin`, and how many it met in all; `None` if stopped.
    fn histogram(&mut self, bin: impl Fn(u32) -> Option<u32>) -> Option<(Vec<u64>, u64)> {
        let evict = self.rules.evict;
        self.report.scans += 1;
        let mut counts = vec![0; BINS];
        let (mut met, mut stopped) = (0_u64, false);
        self.population.scan(self.rules.policy, &mut |candidate| {
            met += 1;
            if met.is_multiple_of(SCAN_STRIDE) && (self.stop)() {
                stopped = true;
                return ControlFlow::Break(());
            }
            if candidate.is_evictable(evict)
                && let Some(bin) = bin(candidate.key.get())
            {
                counts[bin as usize] += 1;
            }
            ControlFlow::Continue(())
        });
        self.report.cancelled |= stopped;
        (!stopped).then_some((counts, met))
    }

    fn sweep(&mut self, key_max: CleanupKey) {
        let Rules { policy, evict, .. } = self.rules;
        let cut = Cut { policy, key_max, evict };
        let mut from = Position::default();
        loop {
            let max = self.need().min(u64::from(self.rules.batch)) as u32;
            if max == 0 || self.stopped() {
                return;
            }
            let evicted = self.population.evict(cut, from, max);
            // A population may claim anything.
            self.report.evicted = self.report.evicted.saturating_add(evicted.count);
            self.report.bytes_freed = self.report.bytes_freed.saturating_add(evicted.bytes_freed);
            self.report.batches += u64::from(evicted.count > 0);
            match evicted.next {
                Some(next) if next > from => from = next,
                _ => return, // the end, or a population that does not move on
            }
        }
    }

    fn stopped(&mut self) -> bool {
        self.report.cancelled |= (self.stop)() && !mutants::on("guardian-stop-ignored");
        self.report.cancelled
    }
}

/// The bin in which the `need`-th member lies, and how many members of that bin are needed; `None`
/// if there are not that many.
fn locate(counts: &[u64], need: u64) -> Option<(u32, u64)> {
    let mut need = need;
    for (bin, &count) in (0..).zip(counts) {
        if count >= need {
            return Some((bin, need));
        }
        need -= count;
    }
    None
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::print_stdout, reason = "a random test prints its seed")]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Members with a key, durable or pinned; evicted ones are taken out and noted in order.
    struct Cache {
        members: RefCell<Vec<Option<Candidate>>>,
        evicted: RefCell<Vec<u32>>,
    }

    impl Cache {
        fn new(members: impl IntoIterator<Item = (u32, bool, bool)>) -> Self {
            let member =
                |(key, durable, pinned)| Some(Candidate { key: CleanupKey(key), durable, pinned });
            let members = members.into_iter().map(member).collect();
            Self { members: RefCell::new(members), evicted: RefCell::default() }
        }

        fn evicted_sorted(&self) -> Vec<u32> {
            let mut keys = self.evicted.borrow().clone();
            keys.sort_unstable();
            keys
        }
    }

    impl Population for Cache {
        fn member_bytes(&self) -> u64 {
            64
        }

        fn scan(
            &self,
            _policy: CleanupPolicy,
            visit: &mut dyn FnMut(Candidate) -> ControlFlow<()>,
        ) {
            for candidate in self.members.borrow().iter().flatten() {
                if visit(*candidate).is_break() {
                    return;
                }
            }
        }

        fn evict(&self, cut: Cut, from: Position, max: u32) -> Evicted {
            let mut members = self.members.borrow_mut();
            let mut evicted = Evicted::default();
            for (index, slot) in members.iter_mut().enumerate().skip(from.0 as usize) {
                if evicted.count == u64::from(max) {
                    evicted.next = Some(Position(index as u64));
                    break;
                }
                if let Some(gone) = slot.take_if(|member| cut.takes(member)) {
                    self.evicted.borrow_mut().push(gone.key.get());
                    evicted.count += 1;
                }
            }
            evicted
        }
    }

    const RULES: Rules = Rules { policy: CleanupPolicy::Oldest, batch: 10, evict: Evict::Unlogged };

    fn credits(credits: u64) -> Amounts {
        Amounts { credits, bytes: 0 }
    }

    fn run(cache: &Cache, goal: Amounts, evict: Evict) -> CleanupReport {
        let rules = Rules { evict, ..RULES };
        Cleanup::new(cache, rules, goal, &|| u64::MAX, &|| false).run().report
    }

    #[test]
    fn exactly_the_lowest_keys_go_whatever_their_order_and_spread() {
        let seed = std::env::var("NG_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("NG_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        // Often enough that members at the cut come before some below it, by any chance.
        for spread in [1, 3, 100, 70_000, u32::MAX].repeat(20) {
            let base = random.u32(..=u32::MAX - (spread - 1));
            let keys: Vec<u32> = (0..500).map(|_| base + random.u32(..spread)).collect();
            let goes = random.usize(1..=500);
            let cache = Cache::new(keys.iter().map(|&key| (key, false, false)));
            let report = run(&cache, credits(goes as u64), Evict::Unlogged);
            let mut expected = keys;
            expected.sort_unstable();
            expected.truncate(goes);
            assert_eq!(cache.evicted_sorted(), expected, "spread {spread}, credits {goes}");
            assert_eq!((report.considered, report.evicted), (500, goes as u64));
            assert!(report.batches >= (goes as u64).div_ceil(10));
        }
    }

    #[test]
    fn pinned_members_never_go_and_durable_ones_only_if_all_may() {
        // Keys rise; every third is durable, every fifth pinned: the protected are oldest.
        let members = || (0..90).map(|key| (key, key % 3 == 0, key % 5 == 0));
        let plain: Vec<u32> = (0..90).filter(|key| key % 3 != 0 && key % 5 != 0).collect();

        let cache = Cache::new(members());
        let report = run(&cache, credits(1_000), Evict::Unlogged);
        assert_eq!(cache.evicted_sorted(), plain);
        assert_eq!(report.considered, plain.len() as u64);

        let cache = Cache::new(members());
        run(&cache, credits(5), Evict::All);
        assert_eq!(*cache.evicted.borrow(), [1, 2, 3, 4, 6]);
        run(&cache, credits(1_000), Evict::All);
        let unpinned: Vec<u32> = (0..90).filter(|key| key % 5 != 0).collect();
        assert_eq!(cache.evicted_sorted(), unpinned);
    }

    #[test]
    fn a_cut_takes_what_is_at_or_below_its_key_and_may_go() {
        for (durable, pinned, evict, goes) in [
            (false, false, Evict::Unlogged, true),
            (true, false, Evict::Unlogged, false),
            (false, true, Evict::Unlogged, false),
            (true, true, Evict::Unlogged, false),
            (false, false, Evict::All, true),
            (true, false, Evict::All, true),
            (false, true, Evict::All, false),
            (true, true, Evict::All, false),
        ] {
            let cut = Cut { policy: CleanupPolicy::Oldest, key_max: CleanupKey(7), evict };
            let at = |key| Candidate { key: CleanupKey(key), durable, pinned };
            assert_eq!(cut.takes(&at(7)), goes, "durable {durable}, pinned {pinned}, {evict:?}");
            assert!(!cut.takes(&at(8)));
        }
    }

    #[test]
    fn few_that_may_go_are_not_evicted_for_a_mark_of_the_whole() {
        // 860 of 1,000 in use, 850 of which stay; the mark of all would be 800.
        let run = |ordinary: u32, goal: Amounts| {
            let members = (0..850 + ordinary).map(|key| (key, key < 850, false));
            Cleanup::new(&Cache::new(members), RULES, goal, &|| u64::MAX, &|| false)
                .down_to(0.8)
                .run()
                .report
                .evicted
        };
        assert_eq!(run(10, credits(60)), 0, "10 of the 120 that may stay beside 850");
        assert!((30..=31).contains(&run(150, credits(200))), "150 are 30 more than that");
        let bytes = |members: u64| Amounts { credits: 0, bytes: members };
        assert_eq!(run(10, bytes(60)), 0);
    }

    #[test]
    fn eviction_stops_when_others_freed_enough_meanwhile() {
        let cache = Cache::new((0..100).map(|key| (key, false, false)));
        let over = RefCell::new(vec![0, 7, 7, 50]); // each look finds fewer left to do
        let left = || over.borrow_mut().pop().unwrap_or(0);
        let run = Cleanup::new(&cache, RULES, credits(50), &left, &|| false).run();
        assert_eq!((run.report.evicted, run.report.cancelled), (14, false));
    }

    #[test]
    fn a_cleanup_stops_between_batches_when_asked() {
        let cache = Cache::new((0..100).map(|key| (key, false, false)));
        let looks = RefCell::new(0);
        let stop = || {
            *looks.borrow_mut() += 1;
            *looks.borrow() > 3
        };
        let run = Cleanup::new(&cache, RULES, credits(100), &|| u64::MAX, &stop).run();
        assert!(run.report.cancelled);
        assert_eq!(run.report.evicted, 20);
    }

    #[test]
    fn a_goal_in_bytes_evicts_as_many_as_occupy_them_and_believes_only_what_was_freed() {
        let cache = Cache::new((0..100).map(|key| (key, false, false)));
        let goal = Amounts { credits: 0, bytes: 64 * 30 - 1 };
        let run = Cleanup::new(&cache, RULES, goal, &|| 0, &|| false).run();
        assert_eq!((run.report.evicted, run.report.bytes_freed), (30, 0));
    }

    #[test]
    fn vain_is_what_found_nobody_although_somebody_had_to_go() {
        let pinned = Cache::new((0..10).map(|key| (key, false, true)));
        let run = Cleanup::new(&pinned, RULES, credits(5), &|| u64::MAX, &|| false).run();
        assert!(run.was_vain());
        assert_eq!((run.met, run.report.considered, run.report.scans), (10, 0, 1));
        let nobody_had_to = Cleanup::new(&pinned, RULES, credits(5), &|| 0, &|| false).run();
        assert!(!nobody_had_to.was_vain());
        let stopped = Cleanup::new(&pinned, RULES, credits(5), &|| u64::MAX, &|| true).run();
        assert!(!stopped.was_vain());
        let plain = Cache::new((0..10).map(|key| (key, false, false)));
        let run = Cleanup::new(&plain, RULES, credits(5), &|| u64::MAX, &|| false).run();
        assert!(!run.was_vain());
    }

    #[test]
    fn a_population_that_does_not_move_on_ends_the_sweep() {
        struct Stuck;
        impl Population for Stuck {
            fn member_bytes(&self) -> u64 {
                0
            }
            fn scan(&self, _: CleanupPolicy, _: &mut dyn FnMut(Candidate) -> ControlFlow<()>) {}
            fn evict(&self, _: Cut, from: Position, _: u32) -> Evicted {
                Evicted { next: Some(from), ..Evicted::default() }
            }
        }
        let rules = Rules { policy: CleanupPolicy::Weakest, batch: 1, evict: Evict::All };
        let goal = Amounts { credits: 9, bytes: 9 };
        let run = Cleanup::new(&Stuck, rules, goal, &|| u64::MAX, &|| false).run();
        assert_eq!(run.report, CleanupReport { scans: 1, ..CleanupReport::default() });
    }

    #[test]
    fn float_keys_keep_the_floats_order() {
        let floats = [f32::NEG_INFINITY, -1.0, -0.5, -0.0, 0.0, 1e-30, 0.25, 0.5, 1.0, f32::MAX];
        let keys: Vec<CleanupKey> = floats.map(CleanupKey::from_f32).into();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
