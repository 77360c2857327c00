//! The report: rows as measured, bars computed again from them, as JSON (schema "neurograph-bench/1"), Markdown and one
//! self-contained HTML page. What was not measured is null, never 0.

mod html;
mod markdown;

use std::{fs, io, path::Path, time::SystemTime};

use serde::Serialize;

use crate::{
    machine::{self, Machine},
    records::{self, Change, Record},
    row::{Bar, Failure, Kind, LESS, On, RECORDS_TO_JUDGE, Side, TOKENS_TO_JUDGE, Work},
    statistics::{bootstrap, median, of},
};

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    version: &'static str,
    git: Option<String>,
    rustc: Option<String>,
    started: String,
    machine: Machine,
    config: Settings,
    groups: Vec<GroupReport>,
    bars: Vec<BarReport>,
    /// The record that bars are compared with, if there is one.
    compared_with: Option<ComparedWith>,
}

/// An earlier run on the same kind of processor.
#[derive(Debug, Serialize)]
struct ComparedWith {
    started: String,
    git: Option<String>,
}

#[derive(Debug, Serialize)]
struct Settings {
    tokens: u64,
    records: u64,
    seed: u64,
    /// Fewer rounds.
    quick: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct GroupReport {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) rows: Vec<RowReport>,
    /// Rounds of the rows that a bar needs.
    pub(crate) rounds: usize,
    /// Sentences for whoever reads the rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    #[serde(skip)]
    pub(crate) on: On,
    #[serde(skip)]
    pub(crate) bars: Vec<Bar>,
}

/// `low` and `high` are the 10th and the 90th percentile.
#[derive(Debug, Serialize)]
pub(crate) struct RowReport {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) version: &'static str,
    pub(crate) median: Option<f64>,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    pub(crate) samples: usize,
    /// The samples in the order of their rounds.
    #[serde(skip)]
    pub(crate) rounds: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct BarReport {
    id: &'static str,
    group: &'static str,
    /// The rows whose medians are divided.
    over: &'static str,
    under: &'static str,
    side: Side,
    value: Option<f64>,
    /// 95 % interval of the value.
    interval: Option<[f64; 2]>,
    bar: f64,
    goal: Option<f64>,
    /// Null: not judged, and `not_judged` says why.
    pass: Option<bool>,
    not_judged: Option<&'static str>,
    /// How it stands to the record.
    change: Option<Change>,
    /// The values of all records, oldest first, and this one.
    trend: Vec<f64>,
}

impl Report {
    pub(crate) fn new(
        machine: Machine,
        started: SystemTime,
        work: &Work,
        quick: bool,
        groups: Vec<GroupReport>,
    ) -> Report {
        let bars = groups.iter().flat_map(|group| group.bars(work)).collect();
        Report {
            schema: "neurograph-bench/1",
            version: env!("CARGO_PKG_VERSION"),
            git: machine::first_line("git", &["rev-parse", "HEAD"]),
            rustc: machine::first_line("rustc", &["--version"]),
            started: humantime::format_rfc3339_seconds(started).to_string(),
            machine,
            config: Settings { tokens: work.tokens, records: work.records, seed: work.seed, quick },
            groups,
            bars,
            compared_with: None,
        }
    }

    /// The same with what earlier runs on this kind of processor had, oldest first.
    pub(crate) fn compared_with(mut self, records: &[Record]) -> Report {
        for bar in &mut self.bars {
            let figures: Vec<_> =
                records.iter().filter_map(|record| record.figure(bar.id)).collect();
            bar.trend = figures.iter().map(|(value, _)| *value).chain(bar.value).collect();
            let last = figures.last().and_then(|(_, interval)| *interval);
            bar.change = records::change(bar.side, bar.interval, last);
        }
        self.compared_with = records.last().map(|record| ComparedWith {
            started: record.started.clone(),
            git: record.git.clone(),
        });
        self
    }

    /// Adds it to the records.
    pub(crate) fn record(&self, dir: &Path) -> Result<(), Failure> {
        let added = records::add(dir, &self.machine.cpu, &self.started, &self.json()?);
        let cannot = |error: io::Error| {
            Failure::of_path(format!("cannot write to {}: {error}", dir.display()), &error)
        };
        added.map(|_| ()).map_err(cannot)
    }

    /// What the bars were compared with, in words.
    fn comparison(&self) -> String {
        match &self.compared_with {
            None => "No earlier record of this kind of processor to compare with.".into(),
            Some(ComparedWith { started, git }) => {
                let git = git.as_deref().map_or("unknown", |git| git.get(..7).unwrap_or(git));
                let worse = self.bars.iter().filter(|bar| bar.change == Some(Change::Worse));
                let worse: Vec<_> = worse.map(|bar| bar.id).collect();
                let found = if worse.is_empty() { "nothing".into() } else { worse.join(", ") };
                format!(
                    "Worse than the record of {started}, commit {git}, beyond both intervals: {found}."
                )
            }
        }
    }

    pub(crate) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self).map_err(|error| {
            Failure::Check(format!("the report cannot be written as JSON: {error}"))
        })
    }

    pub(crate) fn markdown(&self) -> String {
        markdown::page(self)
    }

    /// Writes index.html, report.json and report.md.
    pub(crate) fn write(&self, out: &Path) -> io::Result<()> {
        let json = self.json().map_err(|failure| io::Error::other(failure.to_string()))?;
        fs::write(out.join("report.json"), json + "\n")?;
        fs::write(out.join("report.md"), self.markdown())?;
        fs::write(out.join("index.html"), html::page(self))
    }

    /// The machine and the run in one line each.
    fn facts(&self) -> [String; 2] {
        let Machine { cpu, cores, memory_bytes, kernel, filesystem, thp } = &self.machine;
        let gib = *memory_bytes as f64 / f64::from(1 << 30);
        let Settings { tokens, records, seed, quick } = self.config;
        let rounds = if quick { "quick" } else { "full" };
        let unknown = || "unknown".to_owned();
        let rustc = self.rustc.clone().unwrap_or_else(unknown);
        let git = self.git.clone().unwrap_or_else(unknown);
        [
            format!(
                "{cpu}, {cores} cores, {gib:.1} GiB, kernel {kernel}, {filesystem}, huge pages {thp}"
            ),
            format!(
                "{tokens} tokens, {records} records, seed {seed}, {rounds} rounds, {}, {rustc}, commit {git}",
                self.started
            ),
        ]
    }
}

impl GroupReport {
    /// Which of a peer's two rows is the faster, for each peer that has both.
    fn faster(&self) -> Option<String> {
        let peers = self.rows.iter().filter_map(|row| {
            let thp = self.median(&format!("{}+thp", row.name))?;
            let (plain, name) = (row.median?, row.name);
            let (faster, ratio) =
                if thp < plain { ("huge", plain / thp) } else { ("small", thp / plain) };
            Some(format!("{name} is {ratio:.2} times faster on {faster} pages"))
        });
        let told: Vec<_> = peers.collect();
        (!told.is_empty()).then(|| format!("Of each peer's two heaps: {}.", told.join("; ")))
    }

    /// The median of a row, or what one takes beyond another.
    fn figure_of(&self, name: &str) -> Option<f64> {
        match name.split_once(LESS) {
            Some((row, floor)) => Some(self.median(row)? - self.median(floor)?),
            None => self.median(name),
        }
    }

    fn median(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name)?.median
    }

    fn bars(&self, work: &Work) -> impl Iterator<Item = BarReport> {
        let doubt = self.doubt(work);
        self.bars.iter().map(move |limit| {
            let &Bar { id, over, under, side, bar, goal } = limit;
            let value =
                self.figure_of(over).zip(self.median(under)).map(|(over, under)| over / under);
            let interval = self.interval(limit);
            let told = interval.and_then(|interval| limit.judge(interval));
            let not_judged = match () {
                () if value.is_none() => Some("not measured"),
                () if doubt.is_some() => doubt,
                () if told.is_none() => Some("not judged: the interval has the bar in it"),
                () => None,
            };
            let pass = told.filter(|_| not_judged.is_none());
            let group = self.id;
            BarReport {
                id,
                group,
                over,
                under,
                side,
                value,
                interval,
                bar,
                goal,
                pass,
                not_judged,
                change: None,
                trend: Vec::new(),
            }
        })
    }

    /// Whether the rounds so far tell of each bar that has its rows; a group without bars has nothing to tell.
    pub(crate) fn is_told(&self) -> bool {
        let mut intervals = self.bars.iter().map(|bar| (bar, self.interval(bar)));
        intervals
            .all(|(bar, interval)| interval.is_none_or(|interval| bar.judge(interval).is_some()))
    }

    /// 95 % interval of a bar's ratio: rounds are drawn, each with all its rows, since what slows one slows the others.
    fn interval(&self, bar: &Bar) -> Option<[f64; 2]> {
        let names = bar.over.split(LESS).chain([bar.under]);
        let rows = names.map(|name| self.rows.iter().find(|row| row.name == name));
        let rows: Vec<&RowReport> = rows.collect::<Option<_>>()?;
        let rounds = rows.iter().map(|row| row.rounds.len()).min().filter(|rounds| *rounds > 0)?;
        bootstrap(rounds, |drawn| {
            let medians = rows.iter().map(|row| median(&of(&row.rounds, drawn)));
            match *medians.collect::<Option<Vec<f64>>>()? {
                [over, less, under] => Some((over - less) / under),
                [over, under] => Some(over / under),
                _ => None,
            }
        })
    }

    /// Why no bar of this group is judged, if none is.
    fn doubt(&self, work: &Work) -> Option<&'static str> {
        let too_few = match self.on {
            On::Memory | On::Cells => {
                (work.tokens < TOKENS_TO_JUDGE).then_some("not judged: too few tokens")
            }
            On::Disk => (work.records < RECORDS_TO_JUDGE).then_some("not judged: too few records"),
        };
        let no_disk = self.on == On::Disk && !machine::has_disk(work.dir);
        too_few.or_else(|| no_disk.then_some("not judged: no disk behind the files"))
    }
}

impl BarReport {
    /// In words: the bar itself where nothing lies beyond it.
    fn goal(&self) -> String {
        self.goal.map_or_else(|| "the bar".into(), |goal| goal.to_string())
    }

    fn verdict(&self) -> &'static str {
        match self.pass {
            Some(true) => "met",
            Some(false) => "missed",
            None => self.not_judged.unwrap_or_default(),
        }
    }

    /// `create ÷ floor`.
    fn ratio(&self) -> String {
        if self.over.contains(LESS) {
            return format!("({}) ÷ {}", self.over, self.under);
        }
        format!("{} ÷ {}", self.over, self.under)
    }

    /// `1.10 (1.08 to 1.13)`.
    fn measured(&self) -> String {
        let interval = self.interval.map(|[low, high]| format!(" ({low:.2} to {high:.2})"));
        format!("{}{}", figure(self.value), interval.unwrap_or_default())
    }

    /// In a word; a dash where nothing is known.
    fn changed(&self) -> &'static str {
        match self.change {
            None => "–",
            Some(Change::Same) => "same",
            Some(Change::Better) => "better",
            Some(Change::Worse) => "WORSE",
        }
    }

    /// `≤ 1.35`.
    fn limit(&self) -> String {
        let sign = if self.side == Side::AtMost { '≤' } else { '≥' };
        format!("{sign} {}", self.bar)
    }
}

/// A figure with two decimals, or a dash for one that was not measured.
fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ours: f64, tokens: u64) -> Report {
        let row = |name, kind, median| RowReport {
            name,
            kind,
            version: "1",
            median: Some(median),
            low: Some(median * 0.9),
            high: Some(median * 1.1),
            samples: 31,
            rounds: (0..31).map(|round| median * (0.985 + 0.001 * f64::from(round))).collect(),
        };
        let bar =
            |id, over, side| Bar { id, over, under: "floor<x>", side, bar: 1.5, goal: Some(1.0) };
        let group = GroupReport {
            id: "create",
            title: "Create & keep",
            unit: "ns/op",
            on: On::Memory,
            notes: vec!["A note & more".into()],
            rows: vec![row("ours", Kind::Ours, ours), row("floor<x>", Kind::Floor, 4.0)],
            rounds: 31,
            bars: vec![
                bar("P1", "ours", Side::AtMost),
                bar("P2", "ours", Side::AtLeast),
                bar("P3", "absent", Side::AtMost),
            ],
        };
        let work = Work { tokens, ..Work::small() };
        Report::new(Machine::default(), SystemTime::UNIX_EPOCH, &work, false, vec![group])
    }

    #[test]
    fn bars_are_ratios_of_medians_judged_on_their_side() {
        let bars = report(6.5, TOKENS_TO_JUDGE).bars;
        assert_eq!(bars[0].value, Some(1.625));
        assert_eq!([bars[0].pass, bars[1].pass, bars[2].pass], [Some(false), Some(true), None]);
        assert_eq!((bars[2].value, bars[2].verdict()), (None, "not measured"));
        assert_eq!(report(5.0, TOKENS_TO_JUDGE).bars[0].pass, Some(true));
    }

    #[test]
    fn a_run_is_compared_with_the_last_record_and_continues_its_trend() {
        let dir = std::env::temp_dir().join(format!("neurograph-recorded-{}", std::process::id()));
        report(8.0, TOKENS_TO_JUDGE).record(&dir).unwrap();
        let records = records::load(&dir, "").unwrap();
        fs::remove_dir_all(&dir).unwrap();
        let now = report(6.0, TOKENS_TO_JUDGE).compared_with(&records);
        assert_eq!(now.bars[0].trend, [2.0, 1.5]);
        assert_eq!(
            [now.bars[0].change, now.bars[1].change],
            [Some(Change::Better), Some(Change::Worse)]
        );
        assert_eq!((now.bars[2].change, now.bars[2].trend.len()), (None, 0), "never measured");
        assert!(now.comparison().ends_with("intervals: P2."), "{}", now.comparison());
        assert!(now.markdown().contains("WORSE") && html::page(&now).contains("WORSE"));
        let alone = report(6.0, TOKENS_TO_JUDGE).compared_with(&[]);
        assert!(alone.comparison().starts_with("No earlier record"));
    }

    #[test]
    fn a_small_run_is_measured_and_not_judged() {
        let bars = report(6.5, TOKENS_TO_JUDGE - 1).bars;
        assert_eq!((bars[0].value, bars[0].pass), (Some(1.625), None));
        assert_eq!(bars[0].verdict(), "not judged: too few tokens");
        assert_eq!(bars[2].verdict(), "not measured");
    }

    #[test]
    fn bars_on_files_need_a_disk_and_enough_records() {
        let mut report = report(6.5, TOKENS_TO_JUDGE);
        let group = &mut report.groups[0];
        group.on = On::Disk;
        let few = Work { records: RECORDS_TO_JUDGE - 1, ..Work::small() };
        assert_eq!(group.doubt(&few), Some("not judged: too few records"));
        let dir = std::path::Path::new("/proc");
        let in_memory = Work { records: RECORDS_TO_JUDGE, dir, ..Work::small() };
        assert_eq!(group.doubt(&in_memory), Some("not judged: no disk behind the files"));
        group.on = On::Memory;
        assert_eq!(group.doubt(&Work { tokens: TOKENS_TO_JUDGE, ..in_memory }), None);
    }

    #[test]
    fn a_bar_may_judge_what_a_row_takes_beyond_its_floor() {
        let mut report = report(6.5, TOKENS_TO_JUDGE);
        let group = &mut report.groups[0];
        group.bars[0].over = "ours - floor<x>";
        let work = Work { tokens: TOKENS_TO_JUDGE, ..Work::small() };
        let bar = group.bars(&work).next().unwrap();
        assert_eq!((bar.value, bar.pass), (Some((6.5 - 4.0) / 4.0), Some(true)));
        assert_eq!(bar.ratio(), "(ours - floor<x>) ÷ floor<x>");
        group.bars[0].over = "ours - nothing";
        assert_eq!(group.bars(&work).next().unwrap().value, None);
    }

    #[test]
    fn rounds_that_cannot_tell_judge_nothing_and_are_not_enough() {
        let mut report = report(6.5, TOKENS_TO_JUDGE);
        let group = &mut report.groups[0];
        let work = Work { tokens: TOKENS_TO_JUDGE, ..Work::small() };
        let bar = group.bars(&work).next().unwrap();
        let [low, high] = bar.interval.unwrap();
        // Both grow by the same share from round to round: what slows both alike is not in it.
        assert!(high - low < 1e-9 && (low - 1.625).abs() < 1e-9, "{low} to {high}");
        assert!(bar.pass.is_some() && group.is_told(), "the third bar's row is not there");
        // Ours swings from round to round, the floor does not.
        for (round, ns) in group.rows[0].rounds.iter_mut().enumerate() {
            *ns = if round % 2 == 0 { 5.0 } else { 7.0 };
        }
        let bar = group.bars(&work).next().unwrap();
        assert_eq!((bar.pass, bar.verdict()), (None, "not judged: the interval has the bar in it"));
        assert!(!group.is_told());
    }

    #[test]
    fn the_json_has_the_published_shape_and_null_for_what_is_not_there() {
        let json: serde_json::Value =
            serde_json::from_str(&report(6.0, 1000).json().unwrap()).unwrap();
        assert_eq!(json["schema"], "neurograph-bench/1");
        let row = &json["groups"][0]["rows"][1];
        assert_eq!(
            (&row["kind"], &row["median"], &row["samples"]),
            (&"floor".into(), &4.0.into(), &31.into())
        );
        assert_eq!(json["groups"][0]["unit"], "ns/op");
        assert!(json["bars"][2]["value"].is_null() && json["bars"][0]["pass"].is_null());
        for key in ["cpu", "cores", "memory_bytes", "kernel", "filesystem", "thp"] {
            assert!(json["machine"].get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn the_pages_name_every_row_and_bar_and_load_nothing() {
        let report = report(6.5, TOKENS_TO_JUDGE);
        let (html, markdown) = (html::page(&report), report.markdown());
        for page in [&html, &markdown] {
            for word in ["ours", "P1", "P3", "missed", "not measured", "A note"] {
                assert!(page.contains(word), "{word}");
            }
        }
        assert!(!html.contains("floor<x>") && html.contains("floor&lt;x&gt;"));
        assert!(html.contains("Create &amp; keep"));
        assert!(!html.contains("<script") && !html.contains("http"));
        assert_eq!(html.matches("<svg").count(), 2);
        assert_eq!(crate::html::form::faults(&html), Vec::<String>::new());
    }

    #[test]
    fn all_three_files_are_written() {
        let dir = std::env::temp_dir().join(format!("neurograph-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let written = report(6.0, 1000).write(&dir);
        let names = ["index.html", "report.json", "report.md"];
        let sizes = names.map(|name| fs::metadata(dir.join(name)).map_or(0, |file| file.len()));
        fs::remove_dir_all(&dir).unwrap();
        written.unwrap();
        assert!(sizes.iter().all(|size| *size > 100), "{sizes:?}");
    }
}
