//! A load that ran in place of the phases: its figures, and how they moved.

use crate::figures::grouped;
use crate::html::{Cell, number, table, text};
use crate::scenarios::Scenario;

/// Its markup.
pub fn section(scenario: &Scenario) -> String {
    let words = |name: &str| text(name.replace('_', " "));
    let mut rows: Vec<Vec<Cell>> =
        vec![vec![text("seconds in all"), number(format!("{:.1}", scenario.seconds))]];
    rows.extend(scenario.figures.iter().map(|(name, value)| {
        let whole = value.fract() == 0.0;
        let value = if whole { grouped(*value as u64) } else { format!("{value:.3}") };
        vec![words(name), number(value)]
    }));
    let mut out =
        table("What was measured; the unit is the last word", &["figure", "value"], &rows);
    if !scenario.slopes.is_empty() {
        let rows: Vec<Vec<Cell>> = scenario
            .slopes
            .iter()
            .map(|(name, slope)| {
                let [low, high] = slope.interval;
                vec![
                    words(name),
                    number(format!("{:.1}", slope.mean)),
                    number(format!("{:+.3}", slope.per_minute)),
                    number(format!("{low:+.3} to {high:+.3}")),
                ]
            })
            .collect();
        let head = ["figure", "mean", "change a minute", "95 % interval"];
        out.push_str(&table("How it moved over the time of the load", &head, &rows));
    }
    out
}
