//! A row of values in their order as standing columns, each with its figure above.

use super::{Anchor, Drawing, Scale, WIDTH};

const TOP: f64 = 18.0;
const GROUND: f64 = 130.0;

/// The drawing; `what` begins its words, `unit` ends each of them. Columns are numbered from 1.
pub fn draw(what: &str, values: &[f64], unit: &str) -> String {
    let most = values.iter().copied().fold(0.0, f64::max);
    let scale = Scale::new([0.0, most], [GROUND, TOP]);
    let mut drawing = Drawing::new(GROUND + 20.0);
    let step = WIDTH / values.len().max(1) as f64;
    for (column, value) in values.iter().enumerate() {
        let (x, y) = (step * column as f64, scale.at(*value));
        drawing.rect([x + step * 0.14, y], [step * 0.72, GROUND - y], "f-ours");
        let middle = x + step / 2.0;
        drawing.text([middle, y - 4.0], Anchor::Middle, "", &figure(*value));
        let number = (column + 1).to_string();
        drawing.text([middle, GROUND + 14.0], Anchor::Middle, "quiet", &number);
    }
    drawing.line([0.0, GROUND], [WIDTH, GROUND], "axis");
    let each: Vec<_> = values.iter().map(|value| figure(*value)).collect();
    drawing.finish(&format!("{what}: {} {unit}.", each.join(", ")))
}

/// As wide as a column at most.
fn figure(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}
