//! Judges a trace of what a log asked of the kernel: the order of writes, syncs, names and acknowledgements. A killed
//! process shows nothing of this, since the page cache survives it; a trace shows a missing sync on the real files.
//!
//! L1 no acknowledgement before a sync of the file has returned that began after the record's write had ended; a sync
//!    after a failed one proves nothing.
//! L2 nor before the same holds for all that was written before the record: the log is read as a prefix.
//! L3 nor before a sync of the directory that began after the file had got its name.
//! L4 no write into a block that holds an acknowledged record, nor a cut of one. (A sync may cover more than was asked of
//!    it: what came behind its point is not promised, and its block may be written on.)
//! L5 no write into a segment while something of another one is not synced.
//! L6 no segment goes away but on a retirement that covers it, the oldest first, its successor synced.
//!
//! Knows of the log only that segments are files `*.seg`, that other names are preparation, that unwritten blocks are
//! zeroes, and what the child prints. Records are found in writes by their marks.

use std::collections::{BTreeMap, HashMap};

use super::{
    child::Mark,
    trace::{self, Call},
};

const BLOCK_BYTES: u64 = 4096;

/// What was judged, and what was wrong.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) writes: u64,
    pub(super) syncs: u64,
    pub(super) names: u64,
    /// Records whose acknowledgement was held against their write.
    pub(super) acked: u64,
    pub(super) wrong: Vec<String>,
}

#[derive(Debug, Default)]
struct File {
    /// Where it stands now.
    path: String,
    /// Its present name, if it got that in this trace: index into the namings.
    named: Option<usize>,
    /// Indices of its writes.
    writes: Vec<usize>,
    sync_failed: bool,
    /// It was there when the log was opened, which made all durable that it found.
    settled: bool,
}

/// A file got a name in the directory: when, and when that became durable.
#[derive(Clone, Copy, Debug)]
struct Naming {
    at: usize,
    durable: Option<usize>,
}

#[derive(Debug)]
struct Write {
    file: usize,
    begin: usize,
    end: Option<usize>,
    from: u64,
    to: u64,
    /// Under a segment's name, and not zeroes alone: it carries frames.
    frames: bool,
    /// The file's name at that time.
    named: Option<usize>,
    durable: Option<usize>,
}

/// A file under one of its names.
type Place = (usize, Option<usize>);

/// A step in time: a call begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Begin,
    End,
}

struct Linter<'a> {
    dir: &'a str,
    calls: &'a [Call],
    files: Vec<File>,
    /// Path to index of the file that stands there.
    at: HashMap<String, usize>,
    writes: Vec<Write>,
    write_of_call: HashMap<usize, usize>,
    /// Of each record: the write that carries it, and where in the file its mark ends.
    carrier: HashMap<Mark, (usize, u64)>,
    /// File, its name, line and new length of each cut.
    cuts: Vec<(usize, Option<usize>, usize, u64)>,
    namings: Vec<Naming>,
    /// LSN to mark, as the child learnt it.
    appended: BTreeMap<u64, Mark>,
    /// Acknowledged LSN and when the line was begun to be written.
    acks: BTreeMap<u64, usize>,
    acked: u64,
    retired: u64,
    opened: bool,
    verdict: Verdict,
}

/// Judges the trace `text` of a child whose log lies in `dir`.
pub(super) fn lint(text: &str, dir: &str) -> Verdict {
    let calls = trace::parse(text);
    let mut moments: Vec<(usize, Moment, usize)> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        moments.push((call.begin, Moment::Begin, index));
        if let Some(end) = call.end {
            moments.push((end, Moment::End, index));
        }
    }
    moments.sort_unstable();
    let mut linter = Linter {
        dir,
        calls: &calls,
        files: Vec::new(),
        at: HashMap::new(),
        writes: Vec::new(),
        write_of_call: HashMap::new(),
        carrier: HashMap::new(),
        cuts: Vec::new(),
        namings: Vec::new(),
        appended: BTreeMap::new(),
        acks: BTreeMap::new(),
        acked: 0,
        retired: 0,
        opened: false,
        verdict: Verdict::default(),
    };
    for (_, moment, index) in moments {
        match moment {
            Moment::Begin => linter.begin(index),
            Moment::End => linter.end(index),
        }
    }
    linter.judge_acks();
    linter.verdict
}

fn is_segment(path: &str) -> bool {
    path.ends_with(".seg")
}

fn short(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Linter<'_> {
    fn begin(&mut self, index: usize) {
        let call = &self.calls[index];
        match call.name.as_str() {
            "pwrite64" | "pwritev" | "pwritev2" => self.begin_write(index),
            "write" => self.hear(call),
            "ftruncate" => {
                let cut = call.file(0).and_then(|path| self.at.get(&path)).copied();
                if let (Some(file), Some(to)) = (cut, call.number(1)) {
                    self.cuts.push((file, self.files[file].named, call.begin, to));
                }
            }
            "unlink" => self.leaves(call.name_at(0), None, call.begin),
            "unlinkat" => self.leaves(call.name_at(1), None, call.begin),
            "rename" => self.leaves(call.name_at(0), call.name_at(1), call.begin),
            "renameat" | "renameat2" => self.leaves(call.name_at(1), call.name_at(3), call.begin),
            _ => {}
        }
    }

    fn end(&mut self, index: usize) {
        let call = &self.calls[index];
        let Some(end) = call.end else { return };
        match call.name.as_str() {
            "pwrite64" | "pwritev" | "pwritev2" => self.end_write(index, end),
            "fdatasync" | "fsync" => self.end_sync(call, end),
            _ if !call.succeeded() => {}
            "openat" => {
                let made = call.args.get(2).is_some_and(|flags| flags.contains("O_CREAT"));
                if let Some(path) = call.name_at(1).filter(|path| self.is_inside(path)) {
                    self.opens(path, made, end);
                }
            }
            "rename" => self.renamed(call.name_at(0), call.name_at(1), end),
            "renameat" | "renameat2" => self.renamed(call.name_at(1), call.name_at(3), end),
            "unlink" => self.unlinked(call.name_at(0)),
            "unlinkat" => self.unlinked(call.name_at(1)),
            _ => {}
        }
    }

    fn is_inside(&self, path: &str) -> bool {
        path.strip_prefix(self.dir).is_some_and(|rest| rest.starts_with('/'))
    }

    fn opens(&mut self, path: String, made: bool, end: usize) {
        if self.at.contains_key(&path) {
            return;
        }
        let file = self.files.len();
        self.files.push(File { path: path.clone(), ..File::default() });
        self.at.insert(path, file);
        // Whether it was there before cannot be seen: taken as new, the stricter way.
        if made {
            self.name(file, end);
        }
    }

    fn name(&mut self, file: usize, at: usize) {
        self.verdict.names += 1;
        self.files[file].named = Some(self.namings.len());
        self.namings.push(Naming { at, durable: None });
    }

    fn renamed(&mut self, from: Option<String>, to: Option<String>, end: usize) {
        let (Some(from), Some(to)) = (from, to) else { return };
        let Some(file) = self.at.remove(&from) else { return };
        self.files[file].path = to.clone();
        self.at.insert(to, file);
        self.name(file, end);
    }

    fn unlinked(&mut self, path: Option<String>) {
        if let Some(path) = path {
            self.at.remove(&path);
        }
    }

    fn begin_write(&mut self, index: usize) {
        let call = &self.calls[index];
        let Some(path) = call.file(0).filter(|path| self.is_inside(path)) else { return };
        if short(&path) == "LOCK" {
            return;
        }
        if !self.at.contains_key(&path) {
            self.opens(path.clone(), false, call.begin);
        }
        let file = self.at[&path];
        let data = call.data();
        let zeroes = data.iter().all(|byte| *byte == 0);
        let segment = is_segment(&path);
        let from = call.number(3).unwrap_or(0);
        let to = from + data.len() as u64;
        let (line, name) = (call.begin + 1, short(&path));
        if segment && !zeroes {
            let other = self
                .writes
                .iter()
                .find(|write| write.frames && write.file != file && write.durable.is_none());
            if let Some(other) = other {
                let before = short(&self.files[other.file].path);
                let wrong = format!("L5: line {line}: {name} is written, {before} is not synced");
                self.verdict.wrong.push(wrong);
            }
            for (mark, end) in marks(&data) {
                self.carrier.insert(mark, (self.writes.len(), from + end));
            }
        }
        self.verdict.writes += 1;
        self.write_of_call.insert(index, self.writes.len());
        self.files[file].writes.push(self.writes.len());
        let (begin, named) = (call.begin, self.files[file].named);
        let frames = segment && !zeroes;
        self.writes.push(Write { file, begin, end: None, from, to, frames, named, durable: None });
    }

    fn end_write(&mut self, index: usize, end: usize) {
        let Some(write) = self.write_of_call.get(&index).copied() else { return };
        let result = self.calls[index].result.unwrap_or(-1);
        let write = &mut self.writes[write];
        write.end = Some(end);
        if result < 0 {
            // Nothing was written, so nothing needs a sync; what it carried comes again.
            (write.frames, write.to) = (false, write.from);
        } else {
            write.to = write.to.min(write.from + result as u64);
        }
    }

    fn end_sync(&mut self, call: &Call, end: usize) {
        let Some(path) = call.file(0) else { return };
        if path == self.dir {
            if call.succeeded() {
                self.verdict.syncs += 1;
                let ended = self.namings.iter_mut().filter(|n| n.at < call.begin);
                ended.for_each(|naming| {
                    naming.durable.get_or_insert(end);
                });
            }
            return;
        }
        let Some(file) = self.at.get(&path).copied() else { return };
        if !call.succeeded() {
            // An interrupted one says nothing of the pages, and may be called again.
            self.files[file].sync_failed |= call.error.as_deref() != Some("EINTR");
            return;
        }
        if self.files[file].sync_failed {
            return;
        }
        self.verdict.syncs += 1;
        for write in &self.files[file].writes {
            let write = &mut self.writes[*write];
            if write.end.is_some_and(|ended| ended < call.begin) {
                write.durable.get_or_insert(end);
            }
        }
    }

    /// A segment is about to lose its name.
    fn leaves(&mut self, from: Option<String>, to: Option<String>, at: usize) {
        let Some(from) = from.filter(|path| self.is_inside(path) && is_segment(path)) else {
            return;
        };
        let Some(file) = self.at.get(&from).copied() else { return };
        // Before the log is open it only moves aside what never held a record.
        if !self.opened || to.as_deref().is_some_and(is_segment) {
            return;
        }
        let (line, name) = (at + 1, short(&from).to_owned());
        let mut wrong = Vec::new();
        let mut tell = |what: String| wrong.push(format!("L6: line {line}: {what}"));
        let carried = |lsn: &u64, mark: &Mark| {
            let write = self.carrier.get(mark).map(|(write, _)| &self.writes[*write]);
            *lsn >= self.retired && write.is_some_and(|write| write.file == file)
        };
        if self.retired == 0 {
            tell(format!("{name} goes without a retirement"));
        } else if let Some((lsn, _)) = self.appended.iter().find(|(lsn, mark)| carried(lsn, mark)) {
            tell(format!("{name} goes with LSN {lsn}, retired is below {}", self.retired));
        }
        let segments =
            || self.at.iter().filter(|(path, _)| self.is_inside(path) && is_segment(path));
        if let Some((older, _)) = segments().find(|(path, _)| **path < from) {
            tell(format!("{name} goes before {}", short(older)));
        }
        let replaced = segments().any(|(path, other)| {
            let other = &self.files[*other];
            let mut frames = other.writes.iter().map(|write| &self.writes[*write]);
            let synced = frames.any(|write| write.frames && write.durable.is_some());
            *path > from && (other.settled || synced)
        });
        if !replaced {
            tell(format!("{name} goes before its successor is synced"));
        }
        self.verdict.wrong.extend(wrong);
    }

    /// Lines of the child.
    fn hear(&mut self, call: &Call) {
        let Ok(text) = String::from_utf8(call.data()) else { return };
        for line in text.lines() {
            let (tag, rest) = line.split_once(' ').unwrap_or((line, ""));
            match tag {
                "O" => {
                    self.opened = true;
                    self.files.iter_mut().for_each(|file| file.settled = true);
                    // What an open gave back is durable too.
                    let last = rest.split(' ').next_back().and_then(|last| last.parse().ok());
                    self.acked = self.acked.max(last.unwrap_or(0));
                }
                "A" => {
                    if let Some((lsn, mark)) = rest.split_once(' ')
                        && let (Ok(lsn), Some(mark)) = (lsn.parse(), Mark::parse(mark))
                    {
                        self.appended.insert(lsn, mark);
                    }
                }
                "D" => {
                    let lsn = rest.parse().unwrap_or(0);
                    if lsn > self.acked {
                        self.acked = lsn;
                        self.acks.insert(lsn, call.begin);
                    }
                }
                "R" => {
                    let lsn = rest.parse().unwrap_or(0);
                    if lsn > self.acked + 1 {
                        let line = call.begin + 1;
                        let wrong =
                            format!("L6: line {line}: retires LSN {lsn} before it is durable");
                        self.verdict.wrong.push(wrong);
                    }
                    self.retired = self.retired.max(lsn);
                }
                _ => {}
            }
        }
    }

    /// L1, L2, L3, L4, when all is known.
    fn judge_acks(&mut self) {
        let never = usize::MAX;
        // Of all frames up to each write: when the last of them became durable.
        let mut prefix = Vec::with_capacity(self.writes.len());
        let mut latest = 0;
        for write in &self.writes {
            if write.frames {
                latest = latest.max(write.durable.unwrap_or(never));
            }
            prefix.push(latest);
        }
        let mut wrong = Vec::new();
        // By file and name: when something was acknowledged there, and where it ends.
        let mut guarded: HashMap<Place, Vec<(usize, u64)>> = HashMap::new();
        for (lsn, mark) in &self.appended {
            let Some((acked, at)) = self.acks.range(lsn..).next() else { continue };
            self.verdict.acked += 1;
            let line = at + 1;
            let Some((carrier, mark_end)) = self.carrier.get(mark).copied() else {
                wrong.push(format!("L1: line {line}: LSN {acked} acknowledged, {lsn} not written"));
                continue;
            };
            let write = &self.writes[carrier];
            guarded.entry((write.file, write.named)).or_default().push((*at, mark_end));
            let file = short(&self.files[write.file].path);
            if write.durable.unwrap_or(never) > *at {
                wrong.push(format!("L1: line {line}: LSN {acked} acknowledged, {lsn} not synced"));
            } else if prefix[carrier] > *at {
                wrong.push(format!(
                    "L2: line {line}: LSN {acked} acknowledged, frames before it not"
                ));
            }
            let naming = write.named.map(|naming| self.namings[naming]);
            if naming.is_some_and(|naming| naming.durable.is_none_or(|durable| durable > *at)) {
                wrong.push(format!(
                    "L3: line {line}: LSN {acked} acknowledged, {file} has no name yet"
                ));
            }
        }
        let guard = |place: Place, begin: usize| {
            let here = guarded.get(&place).into_iter().flatten();
            here.filter(|(at, _)| *at < begin).map(|(_, end)| *end).max().unwrap_or(0)
        };
        for write in self.writes.iter().filter(|write| is_segment(&self.files[write.file].path)) {
            if write.from / BLOCK_BYTES * BLOCK_BYTES
                < guard((write.file, write.named), write.begin)
            {
                let (line, name) = (write.begin + 1, short(&self.files[write.file].path));
                let from = write.from;
                wrong
                    .push(format!("L4: line {line}: {name} at {from}: acknowledged block written"));
            }
        }
        for (file, named, begin, to) in &self.cuts {
            if *to < guard((*file, *named), *begin) {
                let (line, name) = (begin + 1, short(&self.files[*file].path));
                wrong.push(format!("L4: line {line}: {name} is cut to {to}, acknowledged is more"));
            }
        }
        self.verdict.wrong.extend(wrong);
    }
}

/// The marks in written bytes, and where each ends.
fn marks(data: &[u8]) -> Vec<(Mark, u64)> {
    let prefix = Mark::PREFIX.as_bytes();
    let begins = data.windows(prefix.len()).enumerate().filter(|(_, part)| *part == prefix);
    begins
        .filter_map(|(at, _)| {
            let text = std::str::from_utf8(data.get(at..at + Mark::BYTES)?).ok()?;
            Some((Mark::parse(text)?, (at + Mark::BYTES) as u64))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const M1: &str = "ngt:000001:01:00000001:00/01";
    const M2: &str = "ngt:000001:01:00000002:00/01";

    /// A trace in words: one call in each line, `%1` stands for the first record's mark.
    fn wrong(calls: &[&str]) -> String {
        let text = calls.iter().fold(String::new(), |text, call| text + "9 " + call + "\n");
        let verdict = lint(&text.replace("%1", M1).replace("%2", M2), "/d");
        verdict.wrong.first().cloned().unwrap_or_default()
    }

    const MAKE: [&str; 5] = [
        r#"openat(AT_FDCWD</>, "/d/wal-1.seg.tmp", O_RDWR|O_CREAT|O_TRUNC, 0600) = 3</d/wal-1.seg.tmp>"#,
        r#"pwrite64(3</d/wal-1.seg.tmp>, "header", 6, 0) = 6"#,
        r"fdatasync(3</d/wal-1.seg.tmp>) = 0",
        r#"rename("/d/wal-1.seg.tmp", "/d/wal-1.seg") = 0"#,
        r"fsync(4</d>) = 0",
    ];
    const OPENED: &str = "write(1<pipe:[5]>, \"O 0 0\\x0a\", 6) = 6";
    const WRITE: &str = r#"pwrite64(3</d/wal-1.seg>, "%1", 28, 8192) = 28"#;
    const SYNC: &str = "fdatasync(3</d/wal-1.seg>) = 0";
    const ACK: &str = r#"write(1<pipe:[5]>, "A 1 %1\x0aD 1\x0a", 36) = 36"#;

    fn with(rest: &[&str]) -> String {
        wrong(&[&MAKE[..], &[OPENED], rest].concat())
    }

    #[test]
    fn write_sync_acknowledge_is_how_it_should_be() {
        assert_eq!(with(&[WRITE, SYNC, ACK]), "");
        let trace = [&MAKE[..], &[OPENED, WRITE, SYNC, ACK]].concat();
        let text = trace.iter().map(|call| format!("9 {call}\n")).collect::<String>();
        let verdict = lint(&text.replace("%1", M1), "/d");
        assert_eq!((verdict.acked, verdict.writes, verdict.syncs, verdict.names), (1, 2, 3, 2));
    }

    #[test]
    fn an_acknowledgement_without_a_sync_of_its_write_is_told() {
        assert!(with(&[WRITE, ACK]).starts_with("L1"));
        assert!(with(&[WRITE, ACK, SYNC]).starts_with("L1"));
        assert!(with(&[SYNC, WRITE, ACK]).starts_with("L1"));
        assert!(with(&[ACK]).starts_with("L1"));
        // The sync began while the write was still under way.
        let overlapping = [&MAKE[..], &[OPENED]].concat();
        let text = overlapping.iter().map(|call| format!("9 {call}\n")).collect::<String>()
            + "9 pwrite64(3</d/wal-1.seg>, \"%1\", 28, 8192 <unfinished ...>\n"
            + "8 fdatasync(3</d/wal-1.seg> <unfinished ...>\n"
            + "9 <... pwrite64 resumed>) = 28\n8 <... fdatasync resumed>) = 0\n9 "
            + ACK
            + "\n";
        assert!(lint(&text.replace("%1", M1), "/d").wrong[0].starts_with("L1"));
    }

    #[test]
    fn a_sync_after_a_failed_one_and_a_sync_of_another_file_prove_nothing() {
        let failed = "fdatasync(3</d/wal-1.seg>) = -1 EIO (Input/output error) (INJECTED)";
        assert!(with(&[WRITE, failed, SYNC, ACK]).starts_with("L1"));
        assert!(with(&[WRITE, "fdatasync(3</d/wal-2.seg>) = 0", ACK]).starts_with("L1"));
        let interrupted = "fdatasync(3</d/wal-1.seg>) = -1 EINTR (Interrupted system call)";
        assert_eq!(with(&[WRITE, interrupted, SYNC, ACK]), "");
    }

    #[test]
    fn what_was_written_before_a_record_must_be_synced_too() {
        let later = r#"pwrite64(3</d/wal-1.seg>, "%2", 28, 12288) = 28"#;
        let ack = r#"write(1<pipe:[5]>, "A 2 %2\x0aD 2\x0a", 36) = 36"#;
        assert_eq!(with(&[WRITE, later, SYNC, ack]), "");
        let unended = r#"pwrite64(3</d/wal-1.seg>, "%1", 28, 8192 <unfinished ...>"#;
        assert!(with(&[unended, later, SYNC, ack]).starts_with("L2"));
    }

    #[test]
    fn a_new_name_must_be_durable_before_the_first_acknowledgement_in_it() {
        let trace = [&MAKE[..4], &[OPENED, WRITE, SYNC, ACK]].concat();
        assert!(wrong(&trace).starts_with("L3"), "{}", wrong(&trace));
        let early = [&MAKE[..3], &[MAKE[4], MAKE[3]], &[OPENED, WRITE, SYNC, ACK]].concat();
        assert!(wrong(&early).starts_with("L3"), "{}", wrong(&early));
    }

    #[test]
    fn a_block_with_an_acknowledged_record_is_not_written_again_and_not_cut() {
        let again = r#"pwrite64(3</d/wal-1.seg>, "more", 4, 8220) = 4"#;
        assert!(with(&[WRITE, SYNC, ACK, again]).starts_with("L4"));
        assert_eq!(with(&[WRITE, SYNC, again]), "");
        let cut = "ftruncate(3</d/wal-1.seg>, 4096) = 0";
        assert!(with(&[WRITE, SYNC, ACK, cut]).starts_with("L4"));
        let next = r#"pwrite64(3</d/wal-1.seg>, "more", 4, 12288) = 4"#;
        let ahead = r#"pwrite64(3</d/wal-1.seg>, "\x00\x00", 2, 12288) = 2"#;
        assert_eq!(with(&[WRITE, SYNC, ACK, ahead, SYNC, next]), "");
    }

    #[test]
    fn the_next_segment_waits_for_the_sync_of_this_one() {
        let next = r#"pwrite64(5</d/wal-2.seg>, "start", 5, 4096) = 5"#;
        assert!(with(&[WRITE, next]).starts_with("L5"));
        assert_eq!(with(&[WRITE, SYNC, next]), "");
    }

    #[test]
    fn a_segment_goes_only_when_it_is_retired_and_replaced_and_the_oldest() {
        let next = r#"pwrite64(5</d/wal-2.seg>, "start", 5, 4096) = 5"#;
        let synced = "fdatasync(5</d/wal-2.seg>) = 0";
        let retire = r#"write(1<pipe:[5]>, "R 2\x0a", 4) = 4"#;
        let gone = r#"unlink("/d/wal-1.seg") = 0"#;
        let moved = r#"rename("/d/wal-1.seg", "/d/spare-1") = 0"#;
        let all = [WRITE, SYNC, ACK, next, synced, retire, gone];
        assert_eq!(with(&all), "");
        assert_eq!(with(&[WRITE, SYNC, ACK, next, synced, retire, moved]), "");
        assert!(with(&[WRITE, SYNC, ACK, next, synced, gone]).starts_with("L6"));
        assert!(with(&[WRITE, SYNC, ACK, next, retire, moved]).starts_with("L6"));
        let low = r#"write(1<pipe:[5]>, "R 1\x0a", 4) = 4"#;
        assert!(with(&[WRITE, SYNC, ACK, next, synced, low, gone]).starts_with("L6"));
        let newest = r#"unlink("/d/wal-2.seg") = 0"#;
        let third = r#"pwrite64(6</d/wal-3.seg>, "start", 5, 4096) = 5"#;
        let third_synced = "fdatasync(6</d/wal-3.seg>) = 0";
        let wrong = with(&[WRITE, SYNC, ACK, next, synced, third, third_synced, retire, newest]);
        assert!(wrong.contains("goes before wal-1.seg"), "{wrong}");
    }
}
