//! The report as Markdown: what stdout shows and what a pull request can quote.

use std::fmt::Write;

use super::{Report, figure};

pub(super) fn page(report: &Report) -> String {
    let mut page = String::from("# neurograph bench report\n");
    for fact in report.facts() {
        line(&mut page, format_args!("\n{fact}"));
    }
    for group in &report.groups {
        line(&mut page, format_args!("\n## {} ({})\n", group.title, group.unit));
        if !group.bars.is_empty() {
            line(
                &mut page,
                format_args!("{} rounds of the rows that a bar needs.\n", group.rounds),
            );
        }
        page.push_str("| row | kind | version | median | p10 | p90 | samples |\n");
        page.push_str("|---|---|---|---:|---:|---:|---:|\n");
        for row in &group.rows {
            let kind = format!("{:?}", row.kind).to_lowercase();
            let [median, low, high] = [row.median, row.low, row.high].map(figure);
            line(
                &mut page,
                format_args!(
                    "| {} | {kind} | {} | {median} | {low} | {high} | {} |",
                    row.name, row.version, row.samples
                ),
            );
        }
        for prose in group.faster().iter().chain(&group.notes) {
            line(&mut page, format_args!("\n{prose}"));
        }
    }
    page.push_str("\n## Bars (ratios of medians of this run)\n\n");
    page.push_str(
        "| bar | ratio | value (95 % interval) | bar | goal | | before |\n|---|---|---:|---:|---:|---|---|\n",
    );
    for bar in &report.bars {
        let (value, limit) = (bar.measured(), bar.limit());
        let ratio = bar.ratio();
        line(
            &mut page,
            format_args!(
                "| {} | {ratio} | {value} | {limit} | {} | {} | {} |",
                bar.id,
                bar.goal(),
                bar.verdict(),
                bar.changed()
            ),
        );
    }
    line(&mut page, format_args!("\n{}", report.comparison()));
    page
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("a string takes every write");
}
