//! Values side by side as lying bars, each with its name above and its figure behind.

use super::{Anchor, Drawing, Scale, WIDTH};

/// One bar.
#[derive(Debug)]
pub struct Bar {
    /// In plain words.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// Its figure, with the unit.
    pub shown: String,
}

const ROW: f64 = 34.0;
/// Room for the figure behind the longest bar.
const FIGURE: f64 = 90.0;

/// The drawing; `what` begins its words.
pub fn draw(what: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let scale = Scale::new([0.0, most], [0.0, WIDTH - FIGURE]);
    let mut drawing = Drawing::new(ROW * bars.len() as f64);
    for (row, bar) in bars.iter().enumerate() {
        let y = ROW * row as f64;
        let end = scale.at(bar.value);
        drawing.text([0.0, y + 11.0], Anchor::Start, "", &bar.name);
        drawing.rect([0.0, y + 16.0], [end, 11.0], "f-ours");
        drawing.text([end + 5.0, y + 25.0], Anchor::Start, "strong", &bar.shown);
    }
    let each: Vec<_> = bars.iter().map(|bar| format!("{} {}", bar.name, bar.shown)).collect();
    drawing.finish(&format!("{what}: {}.", each.join(", ")))
}
