//! What a group of rows is made of: names, kinds, how to measure one round, and the bars between rows.

use std::{
    fmt,
    io::{self, ErrorKind},
    path::Path,
};

use crate::console::Unwritten;

/// Fewer tokens fit in caches and warm up too little for a ratio to mean anything.
pub(crate) const TOKENS_TO_JUDGE: u64 = 9_500_000;
/// Fewer records of a log do not fill three segments of the default size.
pub(crate) const RECORDS_TO_JUDGE: u64 = 3_000_000;

/// What every row does in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Tokens a round.
    pub(crate) tokens: u64,
    pub(crate) seed: u64,
    /// Read everything back afterwards, outside the timed region.
    pub(crate) verify: bool,
    /// Pairs of a delete and a create in a round of churn.
    pub(crate) churn: u64,
    /// Records a round of the groups of the log. Rows that are slower by their nature take a stated part of them.
    pub(crate) records: u64,
    /// Where those groups make their files; made for this run, and gone after it.
    pub(crate) dir: &'static Path,
}

#[cfg(test)]
impl Work {
    /// Too little to judge, and enough for every row to do all that it does.
    pub(crate) fn small() -> Work {
        let dir = std::env::temp_dir().leak();
        Work { tokens: 1000, seed: 3, verify: true, churn: 1000, records: 30_000, dir }
    }
}

/// One timed round of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Or bytes, in a group whose unit they are.
    pub(crate) elapsed_ns: u64,
    pub(crate) operations: u64,
}

impl Sample {
    pub(crate) fn ns_per_operation(self) -> f64 {
        self.elapsed_ns as f64 / self.operations.max(1) as f64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Ours,
    Peer,
    Floor,
}

/// Measures one round. Setting up and reading back are its own, untimed.
pub(crate) type Measure = Box<dyn FnMut(&Work) -> Result<Sample, Failure>>;

/// One thing that is measured.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Of the crate, or empty where there is none.
    pub(crate) version: &'static str,
    /// Runs in a child process whose heap asks for huge pages.
    pub(crate) huge_heap: bool,
    pub(crate) measure: Measure,
}

impl Row {
    pub(crate) fn new(
        name: &'static str,
        kind: Kind,
        version: &'static str,
        measure: impl FnMut(&Work) -> Result<Sample, Failure> + 'static,
    ) -> Row {
        Row { name, kind, version, huge_heap: false, measure: Box::new(measure) }
    }

    /// The same on a heap with huge pages.
    pub(crate) fn on_huge_heap(self) -> Row {
        Row { huge_heap: true, ..self }
    }
}

/// Rows that are compared with each other.
pub(crate) struct Group {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    /// What it measures: memory, files, or neither.
    pub(crate) on: On,
    pub(crate) rows: Vec<Row>,
    pub(crate) bars: Vec<Bar>,
    /// Asked after the last round: what the rows saw and a reader should know.
    pub(crate) notes: Notes,
}

pub(crate) type Notes = Box<dyn Fn() -> Vec<String>>;

impl Group {
    /// A group that measures memory, in nanoseconds.
    pub(crate) fn in_memory(
        id: &'static str,
        title: &'static str,
        rows: Vec<Row>,
        bars: Vec<Bar>,
    ) -> Group {
        let notes = Box::new(Vec::new);
        Group { id, title, unit: "ns/op", on: On::Memory, rows, bars, notes }
    }

    /// A group that measures files, in nanoseconds.
    pub(crate) fn on_disk(
        id: &'static str,
        title: &'static str,
        rows: Vec<Row>,
        bars: Vec<Bar>,
    ) -> Group {
        Group { on: On::Disk, ..Group::in_memory(id, title, rows, bars) }
    }
}

/// What a group measures. It decides what is done before each row, and when its bars are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Memory,
    /// A few cache lines: nothing has to be there before.
    Cells,
    /// Files of which a sync is part of the figure: only on a disk does that mean anything.
    Disk,
}

/// Between two rows in a bar's `over`: what the first takes beyond the second.
pub(crate) const LESS: &str = " - ";

/// A ratio of two rows' medians and what it must reach. `over` may be two rows with [`LESS`] between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    pub(crate) id: &'static str,
    pub(crate) over: &'static str,
    pub(crate) under: &'static str,
    pub(crate) side: Side,
    pub(crate) bar: f64,
    /// Where we are going, if that is further than the bar.
    pub(crate) goal: Option<f64>,
}

impl Bar {
    /// Whether a ratio in this interval reaches the bar; `None`: the bar lies in it.
    pub(crate) fn judge(&self, [low, high]: [f64; 2]) -> Option<bool> {
        let (worst, best) = match self.side {
            Side::AtMost => (high <= self.bar, low <= self.bar),
            Side::AtLeast => (low >= self.bar, high >= self.bar),
        };
        (worst == best).then_some(worst)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    AtMost,
    AtLeast,
}

/// Why there is no report.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was measured is not what it says: a token is missing or changed.
    Check(String),
    /// What the user gave cannot be used.
    Input(String),
    /// The machine lacks something.
    Environment(String),
    /// Stdout takes no more.
    Stdout(Unwritten),
}

impl Failure {
    /// A path that leads through a file is a slip of the user's; any other error is the machine's.
    pub(crate) fn of_path(line: String, error: &io::Error) -> Failure {
        match error.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => Failure::Input(line),
            _ => Failure::Environment(line),
        }
    }

    /// The one line that stderr gets; none where the reader of stdout has had enough.
    pub(crate) fn line(&self) -> Option<String> {
        match self {
            Failure::Stdout(Unwritten::Closed) => None,
            failure => Some(failure.to_string()),
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Stdout(Unwritten::Closed) => 0,
            Failure::Stdout(Unwritten::Failed(_)) => 1,
            Failure::Check(_) => 1,
            Failure::Input(_) => 2,
            Failure::Environment(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Check(text) | Failure::Input(text) | Failure::Environment(text) => {
                f.write_str(text)
            }
            Failure::Stdout(Unwritten::Closed) => f.write_str("stdout is closed"),
            Failure::Stdout(Unwritten::Failed(error)) => {
                write!(f, "cannot write to stdout: {error}")
            }
        }
    }
}
