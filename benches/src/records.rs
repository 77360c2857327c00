//! Earlier reports of the same kind of processor (`benches/records/`): what a run is compared with, and the trend that it
//! continues. Only ratios are compared; and only where both intervals say so, something is worse or better.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::row::Side;

/// Where records lie, seen from the root of the workspace, where the report is run.
pub(crate) const DIR: &str = "benches/records";

/// What is read of an earlier report.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) started: String,
    pub(crate) git: Option<String>,
    machine: Machine,
    bars: Vec<Bar>,
}

#[derive(Clone, Debug, Deserialize)]
struct Machine {
    cpu: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Bar {
    id: String,
    value: Option<f64>,
    interval: Option<[f64; 2]>,
}

/// How a ratio stands to the one recorded last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Change {
    Better,
    /// The intervals overlap.
    Same,
    Worse,
}

/// The records of this kind of processor, oldest first. A folder that is not there has none.
pub(crate) fn load(dir: &Path, cpu: &str) -> Result<Vec<Record>, String> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot read {}: {error}", dir.display())),
    };
    let mut records = Vec::new();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "json") {
            let record = read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            records.extend((record.machine.cpu == cpu).then_some(record));
        }
    }
    records.sort_by(|a: &Record, b| a.started.cmp(&b.started));
    Ok(records)
}

fn read(path: &Path) -> Result<Record, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("no report of a bench run: {error}"))
}

/// Adds a report to the records; the name has the processor and the time.
pub(crate) fn add(dir: &Path, cpu: &str, started: &str, json: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("{}-{}.json", slug(cpu), started.replace(':', "-")));
    fs::write(&path, json.to_owned() + "\n")?;
    Ok(path)
}

fn slug(cpu: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
    let words: String = cpu.chars().map(plain).collect();
    words.split_whitespace().collect::<Vec<_>>().join("-")
}

impl Record {
    /// What was measured for a bar, and its interval.
    pub(crate) fn figure(&self, id: &str) -> Option<(f64, Option<[f64; 2]>)> {
        let bar = self.bars.iter().find(|bar| bar.id == id)?;
        Some((bar.value?, bar.interval))
    }
}

/// `None` where one of the two has no interval.
pub(crate) fn change(
    side: Side,
    now: Option<[f64; 2]>,
    before: Option<[f64; 2]>,
) -> Option<Change> {
    let ([low, high], [low_before, high_before]) = now.zip(before)?;
    let (above, below) = (low > high_before, high < low_before);
    Some(match (side, above, below) {
        (_, false, false) => Change::Same,
        (Side::AtMost, true, _) | (Side::AtLeast, false, _) => Change::Worse,
        (Side::AtMost, false, _) | (Side::AtLeast, true, _) => Change::Better,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(cpu: &str, started: &str, value: &str) -> String {
        format!(
            r#"{{"started": "{started}", "git": null, "machine": {{"cpu": "{cpu}", "cores": 2}},
               "bars": [{{"id": "P1", "value": {value}, "interval": [1.0, 1.2], "bar": 1.35}}]}}"#
        )
    }

    #[test]
    fn records_of_the_same_processor_come_back_in_the_order_of_time() {
        let dir = std::env::temp_dir().join(format!("neurograph-records-{}", std::process::id()));
        assert!(load(&dir, "A").unwrap().is_empty(), "no folder yet");
        for (cpu, started, value) in [
            ("A (R)", "2026-02-01T00:00:00Z", "1.2"),
            ("A (R)", "2026-01-01T00:00:00Z", "1.1"),
            ("B", "2026-03-01T00:00:00Z", "9"),
        ] {
            add(&dir, cpu, started, &json(cpu, started, value)).unwrap();
        }
        let records = load(&dir, "A (R)").unwrap();
        let values: Vec<_> = records.iter().map(|record| record.figure("P1").unwrap().0).collect();
        let bad = dir.join("bad.json");
        fs::write(&bad, "{}").unwrap();
        let error = load(&dir, "B").unwrap_err();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(values, [1.1, 1.2]);
        assert!(records[0].figure("P9").is_none());
        assert!(error.contains("bad.json"), "{error}");
        assert_eq!(slug("AMD EPYC(tm) 9R14  @2"), "amd-epyc-tm-9r14-2");
    }

    #[test]
    fn only_what_lies_apart_is_worse_or_better() {
        let [low, middle, high] = [Some([1.0, 1.1]), Some([1.05, 1.2]), Some([1.3, 1.4])];
        assert_eq!(change(Side::AtMost, high, low), Some(Change::Worse));
        assert_eq!(change(Side::AtMost, low, high), Some(Change::Better));
        assert_eq!(change(Side::AtLeast, high, low), Some(Change::Better));
        assert_eq!(change(Side::AtLeast, low, high), Some(Change::Worse));
        assert_eq!(change(Side::AtMost, middle, low), Some(Change::Same));
        assert_eq!(change(Side::AtMost, None, low), None);
    }
}
