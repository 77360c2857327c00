//! The decision table, asked with every combination of its facts, and with whole scans.

use crate::disk::segment;
use crate::format::{FIRST_FRAME_OFFSET, HeaderFault, START_OFFSET, Start};
use crate::read::walk::{Islands, Stop};
use crate::recovery::decide::{
    Asked, Attested, End, Facts, Front, Identity, Numbers, Older, Refusal, RefusalKind, Spare,
    Successor, TABLE, decide, decide_as,
};
use crate::recovery::scan::{Scan, SegmentScan, Unpromised, WalkScan};
use crate::row::Tail;
use crate::{Lsn, Needs, Row, SegmentId};

const IDENTITIES: [Identity; 7] = [
    Identity::Ours,
    Identity::NotAFile,
    Identity::NotALog,
    Identity::Swapped,
    Identity::Newer,
    Identity::OtherStore,
    Identity::OtherNumber,
];
const NUMBERS: [Numbers; 3] = [Numbers::NoSegment, Numbers::Dense, Numbers::Hole];
const FRONTS: [Front; 4] = [Front::Unasked, Front::Reached, Front::TooLate, Front::NewestAbsent];
const OLDER: [Older; 5] =
    [Older::Complete, Older::Short, Older::Cut, Older::Erased, Older::Damaged];
const ENDS: [End; 9] = [
    End::Sealed,
    End::NoMore,
    End::Zero,
    End::Hole,
    End::Stale,
    End::BadHeader,
    End::BadPayload,
    End::Cut,
    End::OutOfPlace,
];
const ATTESTED: [Attested; 4] =
    [Attested::Nobody, Attested::Frame, Attested::Seal, Attested::Checkpoint];
const SPARES: [Spare; 5] =
    [Spare::None, Spare::Usable, Spare::Begun, Spare::Half, Spare::BadHeader];

/// Every combination, numbered.
fn all() -> impl Iterator<Item = Facts> {
    let sizes = [7, 3, 2, 4, 2, 5, 9, 4, 2, 2, 2, 5];
    let total: usize = sizes.iter().product();
    (0..total).map(move |mut index| {
        let mut digit = |size| {
            let digit = index % size;
            index /= size;
            digit
        };
        Facts {
            identity: IDENTITIES[digit(7)],
            numbers: NUMBERS[digit(3)],
            needed: digit(2) == 1,
            front: FRONTS[digit(4)],
            headless: digit(2) == 1,
            older: OLDER[digit(5)],
            end: ENDS[digit(9)],
            attested: ATTESTED[digit(4)],
            islands: digit(2) == 1,
            far: digit(2) == 1,
            rotated: digit(2) == 1,
            spare: SPARES[digit(5)],
        }
    })
}

/// What the table must come to, written a second time and without the table.
fn may_open(f: &Facts) -> bool {
    if f.identity != Identity::Ours {
        return false;
    }
    match f.numbers {
        Numbers::NoSegment => !f.needed,
        Numbers::Hole => false,
        Numbers::Dense => {
            let named_is_lost = f.rotated && !matches!(f.spare, Spare::Usable | Spare::Begun);
            !f.headless
                && !matches!(f.front, Front::TooLate | Front::NewestAbsent)
                && f.older == Older::Complete
                && f.attested == Attested::Nobody
                && !f.far
                && !named_is_lost
        }
    }
}

#[test]
fn each_combination_of_facts_matches_exactly_one_row_and_opens_only_when_nothing_is_lost() {
    let mut met = std::collections::BTreeSet::new();
    for facts in all() {
        let rows: Vec<_> =
            TABLE.iter().filter(|(_, matches)| matches(&facts)).map(|(row, _)| *row).collect();
        assert_eq!(rows.len(), 1, "{facts:?}: {rows:?}");
        let row = facts.row();
        met.insert(row);
        let opens = match row {
            Row::R23 => may_open(&facts), // torn or corrupt: the one row with two outcomes
            row => matches!(
                row,
                Row::R01
                    | Row::R03
                    | Row::R04
                    | Row::R06
                    | Row::R07
                    | Row::R08
                    | Row::R18
                    | Row::R41
            ),
        };
        assert_eq!(opens, may_open(&facts), "{facts:?}: {row}");
    }
    // No dead row: the others are notes beside a plan, or the answer that is never given.
    for row in Row::ALL {
        assert_eq!(met.contains(row), !NEVER_MET.contains(row), "{row}");
    }
}

/// Rows that no facts match.
const NEVER_MET: [Row; 8] =
    [Row::R15, Row::R20, Row::R24, Row::R25, Row::R28, Row::R35, Row::R38, Row::R42];

#[test]
fn a_row_that_no_facts_match_refuses_also_a_log_that_could_be_opened() {
    let mut opened = 0;
    for state in State::all() {
        let (scan, asked) = (state.scan(), state.asked());
        opened += u32::from(decide(&scan, &asked).is_ok());
        for row in NEVER_MET {
            let refused = decide_as(row, &scan, &asked).unwrap_err();
            assert_eq!(refused.row, row, "{state:?}");
        }
    }
    assert!(opened > 0);
}

/// One state of a log's end, as predicates; every combination is asked, as a whole scan.
#[derive(Clone, Copy, Debug)]
struct State {
    records: bool,
    end_proven_beyond: bool,
    unproven: bool,
    hole: bool,
    sealed: bool,
    rotated: bool,
    spare: Option<Behind>,
    needs: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Behind {
    Usable,
    Torn,
    BadHeader,
    HeaderlessFrame,
}

impl State {
    fn all() -> impl Iterator<Item = State> {
        (0..64 * 5 * 4u32).map(|i| State {
            records: i & 1 != 0,
            end_proven_beyond: i & 2 != 0,
            unproven: i & 4 != 0,
            hole: i & 8 != 0,
            sealed: i & 16 != 0,
            rotated: i & 32 != 0,
            spare: [
                None,
                Some(Behind::Usable),
                Some(Behind::Torn),
                Some(Behind::BadHeader),
                Some(Behind::HeaderlessFrame),
            ][(i / 64 % 5) as usize],
            needs: [None, Some(4), Some(5), Some(11)][(i / 320) as usize],
        })
    }

    fn asked(self) -> Asked {
        let needs = self.needs.map(|upto| Needs {
            from: Lsn::new(upto.min(5)),
            upto: Lsn::new(upto),
            segment: SegmentId::default(),
        });
        Asked { store_uuid: Some(7), needs, segment_bytes: None }
    }

    fn scan(self) -> Scan {
        let end_lsn = if self.records { 10 } else { 5 };
        let end_offset = FIRST_FRAME_OFFSET + if self.records { 640 } else { 0 };
        let promise = match (self.end_proven_beyond, self.unproven && self.records) {
            (true, _) => end_lsn + 1,
            (false, true) => 7,
            (false, false) => end_lsn,
        };
        let islands = Islands {
            frames: self.hole.into(),
            data_frames: self.hole.into(),
            last_offset: end_offset + 640,
            promise: if self.hole { promise } else { 0 },
            promise_offset: end_offset + 640,
            seal: 0,
            salted: self.hole,
            dirty_end: if self.hole { end_offset + 704 } else { 0 },
        };
        let start = Start { prev_seq: SegmentId::new(3), prev_end_lsn: 5, prev_chain: 1 };
        let mut last = segment(4);
        last.start = Some(start);
        last.walk = Some(WalkScan {
            end_lsn,
            end_offset,
            chain: 2,
            // A promise in an island alone must count as much as one before the hole.
            promise: if self.hole { 5 } else { promise },
            stop: Stop::Zero,
            sealed: self.sealed,
            rotate_to: self.rotated.then_some(SegmentId::new(5)),
            islands,
            frames: 3,
            unpromised: Unpromised::default(),
        });
        let mut segments = vec![last];
        if let Some(spare) = self.spare {
            let mut next = segment(5);
            next.start_is_blank = spare != Behind::Torn;
            if matches!(spare, Behind::BadHeader | Behind::HeaderlessFrame) {
                next.header = Err(HeaderFault::Checksum { stored: 1, computed: 2 });
            }
            next.frames_without_header = spare == Behind::HeaderlessFrame;
            segments.push(next);
        }
        Scan { segments, unknown_files: Vec::new() }
    }
}

fn segment(seq: u64) -> SegmentScan {
    SegmentScan {
        seq: SegmentId::new(seq),
        regular: true,
        bytes: 64 << 10,
        header: Ok(segment::new_header(SegmentId::new(seq), 7, 64 << 10, 1 << 20)),
        start: None,
        frames_without_header: false,
        start_is_blank: true,
        islands: Islands::default(),
        walk: None,
    }
}

#[test]
fn each_combination_of_predicates_has_the_outcome_that_the_table_gives_it() {
    for state in State::all() {
        let decided = decide(&state.scan(), &state.asked());
        let context = format!("{state:?}: {decided:?}");
        let end = if state.records { 10 } else { 5 };
        let refusal = match state {
            // Refusals, in words of the recovery table.
            State { spare: Some(Behind::HeaderlessFrame), .. } => Some(Row::R26),
            State { needs: Some(4), .. } => Some(Row::R16),
            State { end_proven_beyond: true, .. } => Some(Row::R05),
            State { needs: Some(upto), .. } if upto > end => Some(Row::R17),
            State { rotated: true, spare: None, .. } => Some(Row::R14),
            State { rotated: true, spare: Some(Behind::BadHeader), .. } => Some(Row::R21),
            _ => None,
        };
        if let Some(row) = refusal {
            let missing = matches!(row, Row::R14 | Row::R16);
            let Err(Refusal { row: found, kind }) = decided else { panic!("{context}") };
            let sealed = state.sealed && row == Row::R05; // its end is no erased place
            assert_eq!(found, if sealed { Row::R09 } else { row }, "{context}");
            assert_eq!(missing, matches!(kind, RefusalKind::Missing { .. }), "{context}");
            continue;
        }
        let plan = decided.unwrap_or_else(|_| panic!("{context}"));
        let proven = state.needs.unwrap_or(0).max(if state.unproven { 7 } else { end });
        assert_eq!(plan.proven, proven.min(end), "{context}");
        assert_eq!(plan.rewrite.is_some(), state.records, "{context}");
        assert_eq!(plan.seq.get(), if state.records { 5 } else { 4 }, "{context}");
        assert_eq!(plan.start.prev_end_lsn, end, "{context}");
        let untouched = !state.hole && !state.sealed && !state.rotated;
        let successor = match (state.records, untouched, state.spare) {
            (false, true, _) => Successor::Keep,
            (true, _, Some(Behind::Usable)) => Successor::Adopt,
            _ => Successor::Make,
        };
        assert_eq!(plan.successor, successor, "{context}");
        let aside = state.spare == Some(Behind::BadHeader);
        assert_eq!(plan.quarantine.is_some(), aside, "{context}");
        let (tail, row) = match (state.sealed, state.hole) {
            (true, _) => (Tail::Sealed, Row::R41),
            (false, true) => (Tail::Torn, Row::R08),
            (false, false) => (Tail::Zero, Row::R03),
        };
        assert_eq!((plan.tail, plan.row), (tail, row), "{context}");
        assert_eq!(plan.dropped_frames, u64::from(tail == Tail::Torn), "{context}");
    }
}

#[test]
fn the_end_of_a_checkpoint_is_exclusive_and_counts_as_a_promise() {
    let state = State {
        records: true,
        end_proven_beyond: false,
        unproven: true,
        hole: false,
        sealed: false,
        rotated: false,
        spare: None,
        needs: None,
    };
    let needs = |from, upto| Asked {
        needs: Some(Needs {
            from: Lsn::new(from),
            upto: Lsn::new(upto),
            segment: SegmentId::default(),
        }),
        ..Asked::default()
    };
    let plan = decide(&state.scan(), &needs(5, 10)).unwrap();
    assert_eq!(plan.proven, 10);
    let refused = decide(&state.scan(), &needs(5, 11)).unwrap_err();
    assert_eq!(refused.row, Row::R17);
    let refused = decide(&state.scan(), &needs(4, 8)).unwrap_err();
    assert_eq!(refused.row, Row::R16);
    // All retired, and the checkpoint says how far: a directory without segments is no new log.
    let refused = decide(&Scan::default(), &needs(8, 8)).unwrap_err();
    assert_eq!(refused.row, Row::R02);
    assert!(decide(&Scan::default(), &needs(1, 1)).is_ok());
    // The segment that was in use at the last open, or a later one, must be there.
    let with_segment = |scan: &Scan, segment| {
        let needs = Needs { segment: SegmentId::new(segment), ..needs(1, 1).needs.unwrap() };
        decide(scan, &Asked { needs: Some(needs), ..Asked::default() })
    };
    assert_eq!(with_segment(&Scan::default(), 1).unwrap_err().row, Row::R02);
    let newer = Needs { from: Lsn::new(5), upto: Lsn::new(5), segment: SegmentId::new(5) };
    let refused = decide(&state.scan(), &Asked { needs: Some(newer), ..Asked::default() });
    let refused = refused.unwrap_err();
    assert_eq!(refused.row, Row::R43);
    assert!(matches!(refused.kind, RefusalKind::Missing { seq, .. } if seq.get() == 5));
    let same = Needs { segment: SegmentId::new(4), ..newer };
    assert!(decide(&state.scan(), &Asked { needs: Some(same), ..Asked::default() }).is_ok());
}

#[test]
fn a_lost_start_frame_takes_with_it_only_what_no_frame_behind_it_attests() {
    let mut state = State::all().find(|s| s.records && s.rotated && !s.end_proven_beyond).unwrap();
    state.unproven = false;
    state.spare = Some(Behind::Torn);
    let mut scan = state.scan();
    let islands = &mut scan.segments[1].islands;
    *islands = Islands {
        frames: 2,
        data_frames: 1,
        last_offset: FIRST_FRAME_OFFSET + 64,
        promise: 10,
        promise_offset: FIRST_FRAME_OFFSET,
        seal: 0,
        salted: true,
        dirty_end: FIRST_FRAME_OFFSET + 640,
    };
    let plan = decide(&scan, &Asked::default()).unwrap();
    assert_eq!((plan.row, plan.tail, plan.dropped_frames), (Row::R08, Tail::Torn, 1));
    assert_eq!((plan.seq.get(), plan.start.prev_end_lsn), (5, 10));
    scan.segments[1].islands.promise = 11;
    let refused = decide(&scan, &Asked::default()).unwrap_err();
    let RefusalKind::Corrupt { seq, offset, lsn, proven, .. } = refused.kind else { panic!() };
    assert_eq!((seq.get(), offset, lsn, proven), (5, START_OFFSET, 10, 11));
    // Wider than a crash makes it.
    scan.segments[1].islands.promise = 10;
    scan.segments[1].islands.last_offset = START_OFFSET + (2 << 20) + 64;
    assert_eq!(decide(&scan, &Asked::default()).unwrap_err().row, Row::R11);
}
