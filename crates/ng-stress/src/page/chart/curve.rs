//! A value over some settings in their order: points on a line, from zero up.

use super::{Anchor, Drawing, Scale, WIDTH};

const TOP: f64 = 22.0;
const GROUND: f64 = 130.0;

/// The drawing; `what` begins its words. Each point has the name of its setting, its value and its figure.
pub fn draw(what: &str, points: &[(String, f64, String)]) -> String {
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let scale = Scale::new([0.0, most], [GROUND, TOP]);
    let step = WIDTH / points.len().max(1) as f64;
    let at = |number: usize, value: f64| [step * (number as f64 + 0.5), scale.at(value)];
    let mut drawing = Drawing::new(GROUND + 20.0);
    drawing.line([0.0, GROUND], [WIDTH, GROUND], "axis");
    for (number, pair) in points.windows(2).enumerate() {
        drawing.line(at(number, pair[0].1), at(number + 1, pair[1].1), "curve");
    }
    for (number, (name, value, shown)) in points.iter().enumerate() {
        let [x, y] = at(number, *value);
        drawing.dot([x, y], 4.0, "f-ours");
        // A line that rises to the right would run through a figure in its middle.
        let rises = points.get(number + 1).is_some_and(|next| scale.at(next.1) < y - 8.0);
        let (shift, anchor) = if rises { (3.0, Anchor::End) } else { (0.0, Anchor::Middle) };
        drawing.text([x + shift, y - 9.0], anchor, "strong", shown);
        drawing.text([x, GROUND + 14.0], Anchor::Middle, "quiet", name);
    }
    let each: Vec<_> = points.iter().map(|(name, _, shown)| format!("{name} {shown}")).collect();
    drawing.finish(&format!("{what}: {}.", each.join(", ")))
}
