//! The pairs behind the headline ratio: how far they lie apart.

use super::chart::{figure, spread};
use super::not_run;
use crate::figures::grouped;
use crate::html::{number, paragraph, table, text};
use crate::pace::Paced;
use crate::report::Report;

/// Rows of the table at most: a run of thousands of pairs has them all in report.json.
const ROWS_MAX: usize = 100;

/// Its markup.
pub fn section(report: &Report) -> String {
    let Some(full) = &report.phases.full else {
        return not_run("full");
    };
    let sides = full.pairs.iter().zip(&full.paces);
    let ratios: Vec<f64> = sides
        .map(|(ns, pace_ns)| {
            let side = |side: usize| Paced { ns: ns[side], pace_ns: pace_ns[side] };
            side(1).over(side(0))
        })
        .collect();
    let Some(drawing) = spread::draw("Full stack ÷ arena alone", &ratios) else {
        return paragraph(&match ratios.first() {
            Some(one) => format!("One pair has no distribution: its ratio is {one:.3}."),
            None => "Not measured: there are no pairs.".into(),
        });
    };
    let shown = ratios.iter().zip(full.pairs.iter().zip(&full.paces)).take(ROWS_MAX).enumerate();
    let rows: Vec<_> = shown
        .map(|(turn, (ratio, (pair, pace)))| {
            let ms = |ns: u64| number(format!("{:.2}", ns as f64 / 1e6));
            let paces = format!("{:.2}, {:.2}", pace[0] as f64 / 1e6, pace[1] as f64 / 1e6);
            let number_of = text((turn + 1).to_string());
            vec![number_of, ms(pair[0]), ms(pair[1]), number(paces), number(format!("{ratio:.4}"))]
        })
        .collect();
    let head = ["pair", "arena, ms", "full, ms", "pace of each, ms", "ratio"];
    let mut numbers = table("The pairs in their order", &head, &rows);
    if ratios.len() > ROWS_MAX {
        let all = grouped(ratios.len() as u64);
        numbers
            .push_str(&paragraph(&format!("The first {ROWS_MAX} of {all}; report.json has all.")));
    }
    let note = "Ratio of one pair's times, free of the machine's pace; a tick for each pair, the band from the first to the \
                third quartile, the line at the median.";
    figure("Full stack ÷ arena alone, pair by pair", note, &drawing, &numbers)
}
