//! The decision table: what to do with a log as it was found. Pure: the same scan, the same plan.
//!
//! A scan is boiled down to [`Facts`], a few small enums, and each combination of them matches
//! exactly one row of [`TABLE`]; a test asks every combination. Refusals come first in a fixed
//! order, each assuming that the ones before did not apply, so that the message names the nearest
//! cause.

use crate::format::{FIRST_FRAME_OFFSET, HeaderFault, START_OFFSET, Start, describe_header};
use crate::read::walk::{Islands, Stop};
use crate::recovery::scan::{Scan, SegmentScan, WalkScan};
use crate::row::Tail;
use crate::{Needs, Row, SegmentId, mutants};

/// What the owner of the log says about it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) store_uuid: Option<u128>,
    pub(crate) needs: Option<Needs>,
    /// Size of new segments; only for the report.
    pub(crate) segment_bytes: Option<u64>,
}

/// What to do with the file that takes the next records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Successor {
    /// Make it (replacing a file of that name whose records, if any, are cut off).
    Make,
    /// A prepared one waits: write its start frame.
    Adopt,
    /// The last segment holds no record and is as it was made: go on in it.
    Keep,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What the log's end is.
    pub(crate) row: Row,
    /// What else was met, by number.
    pub(crate) notes: Vec<Row>,
    pub(crate) tail: Tail,
    pub(crate) successor: Successor,
    pub(crate) seq: SegmentId,
    pub(crate) start: Start,
    /// Durable end before the open.
    pub(crate) proven: u64,
    /// Segment whose frames from `proven` on must be written again, and the end offset. Control
    /// frames too: the successor names the chain after the last of them.
    pub(crate) rewrite: Option<(SegmentId, u64)>,
    pub(crate) torn_bytes: u64,
    pub(crate) dropped_frames: u64,
    /// A file that is in the way of the successor and unusable: moved aside, not deleted.
    pub(crate) quarantine: Option<SegmentId>,
}

/// Why the log cannot be opened; the directory's name is added by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) row: Row,
    pub(crate) kind: RefusalKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    Corrupt { seq: SegmentId, offset: u64, lsn: u64, found: String, expected: String, proven: u64 },
    Missing { seq: SegmentId, found: String },
    Version { seq: SegmentId, fault: HeaderFault },
    Foreign { seq: SegmentId, found: String, expected: String },
}

/// Whose files these are; the first that is not ours counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    Ours,
    NotAFile,
    NotALog,
    Swapped,
    Newer,
    OtherStore,
    OtherNumber,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    NoSegment,
    Dense,
    Hole,
}

/// The front of the log, against what the owner needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// Nobody said what is needed.
    Unasked,
    Reached,
    TooLate,
    /// The newest segment that the owner knows of is absent, and no later one is there.
    NewestAbsent,
}

/// The segments before the last one that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Older {
    Complete,
    /// Ends at a frame's end, too early.
    Short,
    /// Ends inside a frame.
    Cut,
    /// Zeroes or stale bytes.
    Erased,
    Damaged,
}

/// Why the walk over the last started segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Behind a seal.
    Sealed,
    NoMore,
    /// Zeroes up to the file's end.
    Zero,
    /// Zeroes, and something behind them.
    Hole,
    Stale,
    BadHeader,
    BadPayload,
    Cut,
    OutOfPlace,
}

/// Who says that a record at or behind the end was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attested {
    Nobody,
    Frame,
    Seal,
    Checkpoint,
}

/// What follows the last started segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spare {
    None,
    /// Prepared, and its salt nowhere in it.
    Usable,
    /// A good header; a start frame torn, or frames that the crash cut off.
    Begun,
    /// Too short for a header, or zeroes.
    Half,
    /// A header whose checksum is wrong.
    BadHeader,
}

/// A scan, boiled down to what the table asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) identity: Identity,
    pub(crate) numbers: Numbers,
    pub(crate) needed: bool,
    pub(crate) front: Front,
    /// A segment in use has no readable header or start frame.
    pub(crate) headless: bool,
    pub(crate) older: Older,
    pub(crate) end: End,
    pub(crate) attested: Attested,
    /// Frames of ours beyond the end.
    pub(crate) islands: bool,
    /// One of them is farther than one crash can put it.
    pub(crate) far: bool,
    pub(crate) rotated: bool,
    pub(crate) spare: Spare,
}

impl Facts {
    fn ours(&self) -> bool {
        self.identity == Identity::Ours
    }

    fn dense(&self) -> bool {
        self.ours() && self.numbers == Numbers::Dense
    }

    fn headed(&self) -> bool {
        self.dense() && !self.headless
    }

    fn reached(&self) -> bool {
        self.headed() && !matches!(self.front, Front::TooLate | Front::NewestAbsent)
    }

    fn whole(&self) -> bool {
        self.reached() && self.older == Older::Complete
    }

    fn kept(&self) -> bool {
        self.whole() && self.attested == Attested::Nobody
    }

    fn near(&self) -> bool {
        self.kept() && !self.far
    }

    /// Nothing speaks against opening.
    fn opens(&self) -> bool {
        let named_is_there = matches!(self.spare, Spare::Usable | Spare::Begun);
        self.near() && (!self.rotated || named_is_there)
    }

    /// Opens, and the end is a bad frame or zeroes with something behind.
    fn torn(&self) -> bool {
        let clean = matches!(self.end, End::Sealed | End::NoMore | End::Zero | End::Stale);
        self.opens() && !clean && !self.islands
    }

    /// The row of the table.
    pub(crate) fn row(&self) -> Row {
        TABLE.iter().find(|(_, matches)| matches(self)).map_or(Row::R42, |(row, _)| *row)
    }
}

type Case = (Row, fn(&Facts) -> bool);

/// Each combination of facts matches exactly one case.
pub(crate) const TABLE: &[Case] = &[
    (Row::R29, |f| f.identity == Identity::NotAFile),
    (Row::R34, |f| f.identity == Identity::NotALog),
    (Row::R33, |f| f.identity == Identity::Swapped),
    (Row::R32, |f| f.identity == Identity::Newer),
    (Row::R27, |f| f.identity == Identity::OtherStore),
    (Row::R19, |f| f.identity == Identity::OtherNumber),
    (Row::R01, |f| f.ours() && f.numbers == Numbers::NoSegment && !f.needed),
    (Row::R02, |f| f.ours() && f.numbers == Numbers::NoSegment && f.needed),
    (Row::R13, |f| f.ours() && f.numbers == Numbers::Hole),
    (Row::R26, |f| f.dense() && f.headless),
    (Row::R16, |f| f.headed() && f.front == Front::TooLate),
    (Row::R43, |f| f.headed() && f.front == Front::NewestAbsent),
    // A segment with a started successor can be read up to where that begins, or is damaged.
    (Row::R22, |f| f.reached() && f.older == Older::Short),
    (Row::R10, |f| f.reached() && f.older == Older::Damaged),
    // Below a promise: durable records are gone.
    (Row::R12, |f| f.whole() && f.attested == Attested::Seal),
    (Row::R05, |f| {
        let erased = matches!(f.end, End::Zero | End::Hole | End::Stale);
        f.reached() && f.older == Older::Erased
            || f.whole() && f.attested == Attested::Frame && erased
    }),
    (Row::R09, |f| {
        let erased = matches!(f.end, End::Zero | End::Hole | End::Stale);
        f.whole() && f.attested == Attested::Frame && !erased
    }),
    (Row::R17, |f| f.whole() && f.attested == Attested::Checkpoint && f.end != End::Cut),
    (Row::R11, |f| f.kept() && f.far),
    (Row::R14, |f| f.near() && f.rotated && f.spare == Spare::None),
    (Row::R21, |f| f.near() && f.rotated && matches!(f.spare, Spare::Half | Spare::BadHeader)),
    // What a crash leaves.
    (Row::R41, |f| f.opens() && f.end == End::Sealed),
    (Row::R03, |f| f.opens() && matches!(f.end, End::NoMore | End::Zero) && !f.islands),
    (Row::R04, |f| f.opens() && f.end == End::Stale && !f.islands),
    (Row::R08, |f| f.opens() && f.end != End::Sealed && f.islands),
    (Row::R06, |f| f.torn() && f.end == End::BadPayload),
    (Row::R07, |f| f.torn() && matches!(f.end, End::BadHeader | End::Hole)),
    (Row::R18, |f| f.torn() && f.end == End::OutOfPlace),
    // Torn when a crash can do it, corrupt when somebody attests the frame.
    (Row::R23, |f| {
        f.torn() && f.end == End::Cut
            || f.whole() && f.attested == Attested::Checkpoint && f.end == End::Cut
            || f.reached() && f.older == Older::Cut
    }),
];

/// The decision.
pub(crate) fn decide(scan: &Scan, asked: &Asked) -> Result<Plan, Refusal> {
    let view = View::of(scan, asked);
    view.answer(view.facts.row())
}

/// The same, as if the facts had matched `row`.
#[cfg(test)]
pub(super) fn decide_as(row: Row, scan: &Scan, asked: &Asked) -> Result<Plan, Refusal> {
    View::of(scan, asked).answer(row)
}

fn new_log(row: Row) -> Plan {
    Plan {
        row,
        notes: Vec::new(),
        tail: Tail::New,
        successor: Successor::Make,
        seq: SegmentId::new(1),
        start: Start { prev_seq: SegmentId::default(), prev_end_lsn: 1, prev_chain: 0 },
        proven: 1,
        rewrite: None,
        torn_bytes: 0,
        dropped_frames: 0,
        quarantine: None,
    }
}

/// The parts of a scan by their role, and the facts.
struct View<'a> {
    scan: &'a Scan,
    asked: &'a Asked,
    /// The last segment with a start frame.
    last: Option<&'a SegmentScan>,
    /// The one after it.
    spare: Option<&'a SegmentScan>,
    /// First segment that is in use and has no readable header or start frame.
    headless: Option<&'a SegmentScan>,
    /// First segment that does not reach its successor's begin, and that successor.
    incomplete: Option<(&'a SegmentScan, &'a SegmentScan)>,
    /// P: exclusive end of what anything attests as durable.
    proven: u64,
    facts: Facts,
}

impl<'a> View<'a> {
    fn of(scan: &'a Scan, asked: &'a Asked) -> Self {
        let segments = &scan.segments;
        let last_at = segments.iter().rposition(|segment| segment.start.is_some());
        let last = last_at.map(|at| &segments[at]);
        let before = &segments[..last_at.unwrap_or(0)];
        let behind = &segments[last_at.map_or(0, |at| at + 1)..];
        // No frame may stand in the file that follows without a header. Those after it were
        // prepared when it had begun to fill and nothing of it was synced: a crash took its start
        // frame. No byte of ours is in them by then.
        let headless = match (last, behind) {
            (None, behind) => behind.first(),
            (Some(_), []) => None,
            (Some(_), [begun, unused @ ..]) => Some(begun)
                .filter(|begun| begun.frames_without_header)
                .or_else(|| unused.iter().find(|next| spare(Some(next)) != Spare::Usable)),
        };
        let headless = before.iter().find(|segment| segment.start.is_none()).or(headless);
        let incomplete = last_at.and_then(|at| {
            let pairs = segments[..=at].windows(2).map(|pair| (&pair[0], &pair[1]));
            pairs.clone().find(|(segment, next)| older(segment, next) != Older::Complete)
        });
        let promised = promised_end(scan);
        let needs = asked.needs.map_or(0, |needs| needs.upto.get());
        let mut view = View {
            scan,
            asked,
            last,
            spare: behind.first(),
            headless,
            incomplete,
            proven: promised.max(needs),
            facts: Facts {
                identity: identity(scan, asked).1,
                numbers: match segments.as_slice() {
                    [] => Numbers::NoSegment,
                    all if hole(all).is_some() => Numbers::Hole,
                    _ => Numbers::Dense,
                },
                needed: asked
                    .needs
                    .is_some_and(|needs| needs.upto.get() > 1 || needs.segment.get() > 0),
                front: front(scan, asked),
                headless: headless.is_some(),
                older: incomplete.map_or(Older::Complete, |(a, b)| older(a, b)),
                end: End::NoMore,
                attested: Attested::Nobody,
                islands: false,
                far: false,
                rotated: false,
                spare: spare(behind.first()),
            },
        };
        if let Some((last, walk)) = last.and_then(|last| Some((last, last.walk.as_ref()?))) {
            let islands = view.beyond();
            view.facts.end = end(walk);
            view.facts.islands = walk.islands.frames > 0 || view.dropped_behind() > 0;
            view.facts.attested = attested(walk.end_lsn, promised, needs, &islands);
            if mutants::on("wal-m27-zero-is-end") && walk.stop == Stop::Zero {
                view.facts.attested = Attested::Nobody;
            }
            view.facts.far = far(last, walk, view.spare);
            view.facts.rotated = walk.rotate_to.is_some();
        }
        view
    }

    fn answer(&self, row: Row) -> Result<Plan, Refusal> {
        let refuse = |kind| Err(Refusal { row, kind });
        match row {
            Row::R01 => Ok(new_log(row)),
            Row::R02 => refuse(self.nothing_there()),
            Row::R29 | Row::R34 | Row::R33 | Row::R32 | Row::R27 | Row::R19 => {
                refuse(self.stranger())
            }
            Row::R13 => refuse(self.hole()),
            Row::R26 => refuse(self.headless()),
            Row::R16 => refuse(self.begins_too_late()),
            Row::R43 => refuse(self.newest_absent()),
            Row::R10 | Row::R22 => refuse(self.incomplete()),
            Row::R05 | Row::R23 if self.facts.older != Older::Complete => refuse(self.incomplete()),
            Row::R05 | Row::R09 | Row::R12 | Row::R17 => refuse(self.below_a_promise()),
            Row::R23 if self.facts.attested != Attested::Nobody => refuse(self.below_a_promise()),
            Row::R11 => refuse(self.too_wide()),
            Row::R14 => refuse(self.named_and_absent()),
            Row::R21 => refuse(self.named_and_damaged()),
            Row::R03
            | Row::R04
            | Row::R06
            | Row::R07
            | Row::R08
            | Row::R18
            | Row::R23
            | Row::R41 => {
                match self.last.and_then(|last| Some((last, last.walk.as_ref()?, last.start?))) {
                    Some((last, walk, start)) => Ok(self.plan(row, last, walk, start)),
                    None => refuse(self.headless()),
                }
            }
            // Notes beside a plan, and the row of facts that match none: no state has these.
            Row::R15
            | Row::R20
            | Row::R24
            | Row::R25
            | Row::R28
            | Row::R35
            | Row::R38
            | Row::R42 => refuse(self.headless()),
        }
    }

    /// What stands beyond the log's end, and in which segment.
    fn beyond(&self) -> Vec<(&'a SegmentScan, &'a Islands)> {
        let walked = self.last.and_then(|last| Some((last, &last.walk.as_ref()?.islands)));
        let spare = self.spare.map(|spare| (spare, &spare.islands));
        walked.into_iter().chain(spare).collect()
    }

    /// Frames with records in a segment whose own start is lost. Others are no loss: an open that
    /// was interrupted may have left them.
    fn dropped_behind(&self) -> u64 {
        self.spare.map_or(0, |spare| spare.islands.data_frames)
    }

    fn end_lsn(&self) -> u64 {
        self.last.and_then(|last| last.walk.as_ref()).map_or(1, |walk| walk.end_lsn)
    }

    fn stranger(&self) -> RefusalKind {
        let (at, identity) = identity(self.scan, self.asked);
        let Some(segment) = self.scan.segments.get(at) else { return self.headless() };
        let seq = segment.seq;
        match (identity, &segment.header) {
            (Identity::NotAFile, _) => RefusalKind::Foreign {
                seq,
                found: "not a regular file".into(),
                expected: "a segment file".into(),
            },
            (Identity::OtherStore, Ok(header)) => {
                let others = self.scan.segments.iter().find_map(|s| s.header.as_ref().ok());
                let expected = self.asked.store_uuid.or(others.map(|header| header.store_uuid));
                RefusalKind::Foreign {
                    seq,
                    found: format!("a segment of store {:032x}", header.store_uuid),
                    expected: format!("store {:032x}", expected.unwrap_or_default()),
                }
            }
            (_, Ok(header)) => {
                let found = format!("its header says segment {}", header.seq);
                self.corrupt(seq, 0, 0, found, format!("segment {seq}, as its name says"))
            }
            (Identity::NotALog, Err(fault)) => RefusalKind::Foreign {
                seq,
                found: describe_header(fault),
                expected: "a segment of this log".into(),
            },
            (_, Err(fault)) => RefusalKind::Version { seq, fault: fault.clone() },
        }
    }

    fn corrupt(
        &self,
        seq: SegmentId,
        offset: u64,
        lsn: u64,
        found: String,
        expected: String,
    ) -> RefusalKind {
        RefusalKind::Corrupt { seq, offset, lsn, found, expected, proven: self.proven }
    }

    fn nothing_there(&self) -> RefusalKind {
        let from = self.asked.needs.map_or(1, |needs| needs.from.get());
        RefusalKind::Missing {
            seq: SegmentId::new(1),
            found: format!("the log is needed from LSN {from} on, the directory holds no segment"),
        }
    }

    fn hole(&self) -> RefusalKind {
        let (before, after) = match hole(&self.scan.segments) {
            Some(at) => (&self.scan.segments[at], &self.scan.segments[at + 1]),
            None => return self.headless(),
        };
        let before_it = match &before.walk {
            Some(walk) => format!("segment {} ends before LSN {}", before.seq, walk.end_lsn),
            None => format!("segment {} holds no record", before.seq),
        };
        let behind_it = match &after.start {
            Some(start) => format!("segment {} begins at LSN {}", after.seq, start.prev_end_lsn),
            None if is_prepared(after) => {
                format!("segment {} is prepared and holds no record yet", after.seq)
            }
            None => format!("segment {} has no start frame", after.seq),
        };
        RefusalKind::Missing { seq: before.seq.next(), found: format!("{before_it}, {behind_it}") }
    }

    /// A segment that must have been started and cannot be read as such.
    fn headless(&self) -> RefusalKind {
        let Some(segment) = self.headless.or(self.spare).or(self.last) else {
            return self.nothing_there();
        };
        let (offset, found) = match &segment.header {
            Ok(_) => (START_OFFSET, "no start frame".to_string()),
            Err(fault) => (0, describe_header(fault)),
        };
        self.corrupt(segment.seq, offset, 0, found, "a segment in use".into())
    }

    fn begins_too_late(&self) -> RefusalKind {
        let needed = self.asked.needs.map_or(1, |needs| needs.from.get());
        let first = self.scan.segments.first();
        let begin = first.and_then(|first| first.start).map_or(1, |start| start.prev_end_lsn);
        let seq = first.map_or(1, |first| first.seq.get());
        RefusalKind::Missing {
            seq: SegmentId::new(seq.saturating_sub(1)),
            found: format!("the log is needed from LSN {needed} on and begins at LSN {begin}"),
        }
    }

    fn newest_absent(&self) -> RefusalKind {
        let known = self.asked.needs.map_or(SegmentId::default(), |needs| needs.segment);
        let newest = self.scan.segments.last().map_or(SegmentId::default(), |last| last.seq);
        RefusalKind::Missing {
            seq: known,
            found: format!(
                "segment {known} was in use when the log was last opened, the newest here is {newest}"
            ),
        }
    }

    fn incomplete(&self) -> RefusalKind {
        let Some((segment, next)) = self.incomplete else { return self.headless() };
        let begin = next.start.map_or(0, |start| start.prev_end_lsn);
        let (offset, lsn, found) = match &segment.walk {
            Some(walk) => (walk.end_offset, walk.end_lsn, walk.stop.describe()),
            None => (START_OFFSET, 0, "no start frame".to_string()),
        };
        let expected = match begin.checked_sub(1) {
            Some(end) if lsn <= end => {
                format!("records up to LSN {end}, before segment {}", next.seq)
            }
            _ => format!("the end that segment {} names, before LSN {begin}", next.seq),
        };
        self.corrupt(segment.seq, offset, lsn, found, expected)
    }

    /// The first bad place: where the walk ended, or the start of the segment behind it.
    fn below_a_promise(&self) -> RefusalKind {
        let end = self.end_lsn();
        let Some((last, walk)) = self.last.and_then(|last| Some((last, last.walk.as_ref()?)))
        else {
            return self.headless();
        };
        let beyond = self.beyond();
        let attests = beyond.iter().find(|(_, islands)| islands.promise == self.proven);
        let expected = match attests {
            Some((segment, islands)) if segment.seq == last.seq => format!(
                "records: a frame at offset {} attests LSN {} durable",
                islands.promise_offset,
                self.proven - 1
            ),
            Some((segment, islands)) => format!(
                "records: a frame at offset {} of segment {} attests LSN {} durable",
                islands.promise_offset,
                segment.seq,
                self.proven - 1
            ),
            None => format!("records up to LSN {}, which its owner says it holds", self.proven - 1),
        };
        // Everything of the last segment is there, and the one behind was begun: its start is bad.
        if let (Some((segment, _)), true) = (attests, walk.rotate_to.is_some())
            && segment.seq != last.seq
            && walk.islands.frames == 0
        {
            return self.corrupt(segment.seq, START_OFFSET, end, "no start frame".into(), expected);
        }
        let found = match self.facts.end {
            End::Sealed => "the end of a closed log".into(),
            _ => walk.stop.describe(),
        };
        self.corrupt(last.seq, walk.end_offset, end, found, expected)
    }

    fn too_wide(&self) -> RefusalKind {
        let Some((last, walk)) = self.last.and_then(|last| Some((last, last.walk.as_ref()?)))
        else {
            return self.headless();
        };
        let beyond = self.beyond();
        let farthest = beyond.iter().rev().find(|(_, islands)| islands.frames > 0);
        let (seq, at) =
            farthest.map_or((last.seq, 0), |(segment, islands)| (segment.seq, islands.last_offset));
        let found = format!(
            "{}, and a frame at offset {at} of segment {seq}: damage larger than one crash can cause",
            walk.stop.describe(),
        );
        let expected = format!("frames within {} bytes at most", reach_bytes(last));
        self.corrupt(last.seq, walk.end_offset, walk.end_lsn, found, expected)
    }

    fn named_and_absent(&self) -> RefusalKind {
        let Some(last) = self.last else { return self.headless() };
        RefusalKind::Missing {
            seq: last.seq.next(),
            found: format!("segment {} ends before LSN {} and names it", last.seq, self.end_lsn()),
        }
    }

    fn named_and_damaged(&self) -> RefusalKind {
        let Some(spare) = self.spare else { return self.headless() };
        let found = match &spare.header {
            Ok(_) => "no start frame".to_string(),
            Err(fault) => describe_header(fault),
        };
        let expected = "the segment that a rotate frame names".to_string();
        self.corrupt(spare.seq, 0, self.end_lsn(), found, expected)
    }

    /// The log can be opened: where to cut, and where to go on.
    fn plan(&self, row: Row, last: &SegmentScan, walk: &WalkScan, start: Start) -> Plan {
        let spare = self.spare;
        let tail = match row {
            Row::R41 => Tail::Sealed,
            Row::R03 if self.facts.end == End::NoMore => Tail::End,
            Row::R03 => Tail::Zero,
            Row::R04 => Tail::Recycled,
            _ => Tail::Torn,
        };
        let empty = walk.end_lsn == start.prev_end_lsn;
        // What a file that served before held, or a crash let through of a cut part, is not ours:
        // a second open finds what the first one adopted.
        let untouched = !walk.sealed
            && !walk.islands.salted
            && walk.islands.frames == 0
            && walk.end_offset == FIRST_FRAME_OFFSET
            && walk.rotate_to.is_none();
        let successor = match (empty, untouched, self.facts.spare) {
            (true, true, _) => Successor::Keep,
            (true, false, _) => Successor::Make,
            (false, _, Spare::Usable) => Successor::Adopt,
            (false, ..) => Successor::Make,
        };
        let lsn_restarts = empty && mutants::on("wal-m25-lsn-restart");
        let start = if lsn_restarts { Start { prev_end_lsn: 1, ..start } } else { start };
        let after =
            Start { prev_seq: last.seq, prev_end_lsn: walk.end_lsn, prev_chain: walk.chain };
        let torn = tail == Tail::Torn;
        let here = walk.islands.dirty_end.saturating_sub(walk.end_offset);
        let behind = spare.filter(|_| self.dropped_behind() > 0);
        let behind = behind.map_or(0, |spare| spare.islands.dirty_end - START_OFFSET);
        Plan {
            row,
            notes: self.notes(empty),
            tail,
            successor,
            seq: if empty { last.seq } else { last.seq.next() },
            start: if empty { start } else { after },
            proven: self.proven.min(walk.end_lsn),
            rewrite: (!empty).then_some((last.seq, walk.end_offset)),
            torn_bytes: if torn { here + behind } else { 0 },
            dropped_frames: if torn { walk.islands.frames + self.dropped_behind() } else { 0 },
            quarantine: spare
                .filter(|_| matches!(self.facts.spare, Spare::Half | Spare::BadHeader))
                .map(|spare| spare.seq),
        }
    }

    fn notes(&self, empty: bool) -> Vec<Row> {
        let segments = &self.scan.segments;
        let headers = || segments.iter().filter_map(|s| Some((s, s.header.as_ref().ok()?)));
        let retired = segments.first().is_some_and(|first| first.seq.get() > 1);
        let longer = headers().any(|(segment, header)| segment.bytes > header.segment_bytes);
        let other = |bytes: u64| headers().any(|(_, header)| header.segment_bytes != bytes);
        let met = [
            (Row::R15, retired),
            (Row::R20, self.facts.spare == Spare::Half),
            (Row::R24, longer),
            (Row::R25, self.facts.spare == Spare::BadHeader),
            (Row::R28, !self.scan.unknown_files.is_empty()),
            (Row::R35, self.asked.segment_bytes.is_some_and(other)),
            (Row::R38, empty && segments.len() > 1 || self.facts.spare == Spare::Begun),
        ];
        met.into_iter().filter_map(|(row, is)| is.then_some(row)).collect()
    }
}

/// The first file that is not ours, by the segments' order, and what it is.
fn identity(scan: &Scan, asked: &Asked) -> (usize, Identity) {
    let mut store = asked.store_uuid;
    for (at, segment) in scan.segments.iter().enumerate() {
        if !segment.regular {
            return (at, Identity::NotAFile);
        }
        match &segment.header {
            Ok(header) if header.store_uuid != *store.get_or_insert(header.store_uuid) => {
                return (at, Identity::OtherStore);
            }
            Ok(header) if header.seq != segment.seq => return (at, Identity::OtherNumber),
            Err(HeaderFault::Magic { .. }) => return (at, Identity::NotALog),
            Err(HeaderFault::Swapped) => return (at, Identity::Swapped),
            Err(HeaderFault::Version { .. }) => return (at, Identity::Newer),
            _ => {}
        }
    }
    (0, Identity::Ours)
}

/// Index of the segment after which a number is absent.
fn hole(segments: &[SegmentScan]) -> Option<usize> {
    segments.windows(2).position(|pair| pair[1].seq != pair[0].seq.next())
}

fn front(scan: &Scan, asked: &Asked) -> Front {
    let begin = scan.segments.first().and_then(|first| first.start);
    let newest = scan.segments.last();
    match (asked.needs, begin) {
        (None, _) => Front::Unasked,
        (Some(needs), Some(begin)) if begin.prev_end_lsn > needs.from.get() => Front::TooLate,
        (Some(needs), _) if newest.is_none_or(|last| last.seq < needs.segment) => {
            Front::NewestAbsent
        }
        (Some(_), _) => Front::Reached,
    }
}

/// A segment with a started successor can be read up to where that begins.
fn older(segment: &SegmentScan, next: &SegmentScan) -> Older {
    let Some((walk, start)) = segment.walk.as_ref().zip(next.start) else { return Older::Damaged };
    match &walk.stop {
        Stop::Goal if start.prev_seq == segment.seq => Older::Complete,
        Stop::FileEnd => Older::Short,
        Stop::Cut { .. } => Older::Cut,
        Stop::Zero | Stop::Stale => Older::Erased,
        _ => Older::Damaged,
    }
}

/// P as the files attest it. Frames behind a cut that is already durable promise nothing new.
fn promised_end(scan: &Scan) -> u64 {
    let walks = scan.segments.iter().filter_map(|segment| segment.walk.as_ref());
    let beyond = |islands: &Islands| match mutants::on("wal-m14-promise-prefix-only") {
        true => 0,
        false => islands.promise,
    };
    let promises = walks.map(|walk| walk.promise.max(beyond(&walk.islands)));
    let unstarted = scan.segments.iter().map(|segment| beyond(&segment.islands));
    let starts = scan.segments.iter().filter_map(|segment| segment.start);
    promises
        .chain(unstarted)
        .chain(starts.map(|start| start.prev_end_lsn))
        .max()
        .unwrap_or(1)
        .max(1)
}

fn end(walk: &WalkScan) -> End {
    let dirty = walk.islands.dirty_end > walk.end_offset;
    match &walk.stop {
        _ if walk.sealed => End::Sealed,
        Stop::Zero if dirty => End::Hole,
        Stop::Zero => End::Zero,
        Stop::FileEnd | Stop::Goal => End::NoMore,
        Stop::Stale => End::Stale,
        Stop::TornHeader { .. } | Stop::Malformed => End::BadHeader,
        Stop::TornPayload { .. } => End::BadPayload,
        Stop::Cut { .. } => End::Cut,
        Stop::OutOfPlace { .. } => End::OutOfPlace,
    }
}

fn attested(end: u64, promised: u64, needs: u64, islands: &[(&SegmentScan, &Islands)]) -> Attested {
    let sealed = islands.iter().any(|(_, islands)| islands.seal > end);
    let inclusive = u64::from(mutants::on("wal-m31-promise-inclusive"));
    if mutants::on("wal-m13-island-refuse") && islands.iter().any(|(_, found)| found.frames > 0) {
        return Attested::Frame;
    }
    match (end < promised + inclusive, end < needs) {
        (true, _) if sealed => Attested::Seal,
        (true, _) => Attested::Frame,
        (false, true) => Attested::Checkpoint,
        (false, false) => Attested::Nobody,
    }
}

/// How far from the end a frame may stand that the same crash let through.
fn reach_bytes(segment: &SegmentScan) -> u64 {
    let ahead = segment.header.as_ref().map_or(0, |header| header.max_ahead_bytes);
    ahead.saturating_mul(2)
}

fn far(last: &SegmentScan, walk: &WalkScan, spare: Option<&SegmentScan>) -> bool {
    let here = walk.end_offset.saturating_add(reach_bytes(last));
    let behind = |spare: &SegmentScan| START_OFFSET.saturating_add(reach_bytes(spare));
    walk.islands.frames > 0 && walk.islands.last_offset > here
        || spare.is_some_and(|spare| {
            spare.islands.frames > 0 && spare.islands.last_offset > behind(spare)
        })
}

/// A segment that was prepared, and nothing written into it.
pub(crate) fn is_prepared(segment: &SegmentScan) -> bool {
    segment.header.is_ok() && segment.start_is_blank && !segment.islands.salted
}

fn spare(spare: Option<&SegmentScan>) -> Spare {
    let Some(spare) = spare else { return Spare::None };
    match &spare.header {
        Ok(_) if is_prepared(spare) => Spare::Usable,
        Ok(_) => Spare::Begun,
        Err(HeaderFault::Short { .. } | HeaderFault::Zero) => Spare::Half,
        Err(_) => Spare::BadHeader,
    }
}
