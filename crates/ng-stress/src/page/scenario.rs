//! A load that ran in place of the phases: its figures, and how they moved.

use super::chart::{figure, timeline};
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
    let drawn: String = SERIES.iter().filter_map(|series| drawing(scenario, series)).collect();
    if !drawn.is_empty() {
        out.push_str(&format!("<div class=\"pictures\">\n{drawn}</div>\n"));
    }
    out
}

/// A series by its name, with its title and what it shows.
const SERIES: [[&str; 3]; 3] = [
    [
        "rss_bytes",
        "Resident memory over time",
        "Megabytes, as the kernel counts those of the process.",
    ],
    [
        "held_bytes",
        "The store's memory over time",
        "Megabytes that the store counts towards its quota.",
    ],
    [
        "log_bytes_per_second",
        "Throughput of the log",
        "Megabytes a second, written while the load's pace is held.",
    ],
];

/// `None`: not measured, or by one sample alone.
fn drawing(scenario: &Scenario, [name, title, note]: &[&str; 3]) -> Option<String> {
    let points = scenario.series.get(name).filter(|points| points.len() > 1)?;
    let points: Vec<_> = points.iter().map(|[second, bytes]| [*second, bytes / 1e6]).collect();
    let unit = if name.ends_with("second") { "MB/s" } else { "MB" };
    let row = |[second, value]: &[f64; 2]| {
        vec![text(format!("{second:.1}")), number(format!("{value:.2}"))]
    };
    let numbers = table(title, &["second", unit], &points.iter().map(row).collect::<Vec<_>>());
    Some(figure(title, note, &timeline::draw(title, &points, unit), &numbers))
}
