//! The table of limits, benches/instructions/limits.toml: read, and rewritten with new figures. Comments, order and
//! reasons are the writer's and stay.

use std::collections::BTreeMap;

/// A limit is so much above what was measured. Unit: share.
const HEADROOM: f64 = 0.02;
/// The same of a path of many instructions, whose number depends on the C library and on when memory comes.
const HEADROOM_LONG: f64 = 0.05;
/// So many are many.
const LONG: f64 = 100.0;
/// And at least this. Unit: instructions an operation. A path of nine instructions that grows by one is over it.
const HEADROOM_MIN: f64 = 0.5;

/// What the table says of a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limit {
    pub(super) what: String,
    /// Instructions an operation when the table was blessed.
    pub(super) measured: f64,
    /// The most that it may take.
    pub(super) limit: f64,
    pub(super) reason: String,
}

/// How a figure stands to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Within,
    Over,
    /// Below what was measured by more than the headroom.
    Lower,
}

impl Limit {
    pub(super) fn judge(&self, instructions: f64) -> Verdict {
        if instructions > self.limit {
            Verdict::Over
        } else if instructions < self.measured - (self.limit - self.measured) {
            Verdict::Lower
        } else {
            Verdict::Within
        }
    }
}

/// The limit that goes with a figure.
fn limit_for(measured: f64) -> f64 {
    let headroom = if measured < LONG { HEADROOM } else { HEADROOM_LONG };
    measured + (measured * headroom).max(HEADROOM_MIN)
}

/// Reads the table. The error is a sentence that names the row.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, Limit>, String> {
    let table: toml::Table = text.parse().map_err(|error| format!("no TOML: {error}"))?;
    let mut limits = BTreeMap::new();
    for (name, row) in &table {
        let number = |key: &str| {
            row.get(key).and_then(|value| value.as_float()).ok_or(format!("{name} has no {key}"))
        };
        let words = |key: &str| {
            let value = row.get(key).and_then(|value| value.as_str()).unwrap_or_default();
            if value.is_empty() {
                Err(format!("{name} has no {key}"))
            } else {
                Ok(value.to_owned())
            }
        };
        let limit = Limit {
            what: words("what")?,
            measured: number("measured")?,
            limit: number("limit")?,
            reason: words("reason")?,
        };
        limits.insert(name.clone(), limit);
    }
    Ok(limits)
}

/// The same text with these figures and their limits.
pub(super) fn blessed(text: &str, figures: &BTreeMap<String, f64>) -> String {
    let (mut out, mut figure) = (String::new(), None);
    for line in text.lines() {
        let row = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(row) = row {
            figure = figures.get(row);
        }
        match (figure, line.split(' ').next()) {
            (Some(measured), Some("measured")) => {
                out.push_str(&format!("measured = {measured:.2}\n"));
            }
            (Some(measured), Some("limit")) => {
                out.push_str(&format!("limit = {:.2}\n", limit_for(*measured)));
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str =
        "# A head.\n\n[get]\nwhat = \"a get\"\nmeasured = 50.0\nlimit = 51.0\nreason = \"r\"\n";

    fn get() -> Limit {
        read(ROW).unwrap().remove("get").unwrap()
    }

    #[test]
    fn a_figure_is_over_its_limit_within_it_or_a_reason_to_lower_it() {
        assert_eq!(get().judge(51.01), Verdict::Over);
        assert_eq!(get().judge(51.0), Verdict::Within);
        assert_eq!(get().judge(49.0), Verdict::Within);
        assert_eq!(get().judge(48.99), Verdict::Lower);
    }

    #[test]
    fn one_instruction_more_is_seen_on_paths_of_up_to_fifty() {
        for measured in [1.0, 9.0, 40.0, 49.9] {
            assert!(measured + 1.0 > limit_for(measured), "{measured}");
        }
        assert_eq!(limit_for(700.0), 735.0);
    }

    #[test]
    fn blessing_changes_the_figures_of_its_rows_and_nothing_else() {
        let text = format!("{ROW}\n[other]\nmeasured = 1.0\nlimit = 2.0\n");
        let figures = BTreeMap::from([("get".to_owned(), 60.004), ("none".to_owned(), 1.0)]);
        let expected = text.replace("= 50.0", "= 60.00").replace("= 51.0", "= 61.20");
        assert_eq!(blessed(&text, &figures), expected);
    }

    #[test]
    fn a_row_without_a_reason_or_a_figure_is_refused_by_name() {
        let without = |line: &str| ROW.replace(line, "");
        assert_eq!(read(&without("reason = \"r\"\n")).unwrap_err(), "get has no reason");
        assert_eq!(read(&ROW.replace("\"r\"", "\"\"")).unwrap_err(), "get has no reason");
        assert_eq!(read(&without("limit = 51.0\n")).unwrap_err(), "get has no limit");
    }
}
