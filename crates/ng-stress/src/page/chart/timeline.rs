//! A value over the time of a load: a line from zero up, with round values at both axes.

use super::{Anchor, Drawing, Scale, WIDTH, tick};

const TOP: f64 = 12.0;
const GROUND: f64 = 130.0;
/// Room for the values of the upright axis.
const LEFT: f64 = 44.0;

/// The drawing; `what` begins its words and `unit` ends them. Points are seconds and values, in the order of time.
pub fn draw(what: &str, points: &[[f64; 2]], unit: &str) -> String {
    let values = || points.iter().map(|[_, value]| *value);
    let most = values().fold(0.0, f64::max);
    let [first, last] =
        [points.first(), points.last()].map(|p| p.map_or(0.0, |[second, _]| *second));
    let upright = Scale::new([0.0, most], [GROUND, TOP]);
    let level = Scale::new([first, last], [LEFT, WIDTH - 14.0]);
    let mut drawing = Drawing::new(GROUND + 20.0);
    for [value, next] in pairs(&upright.ticks(3)) {
        let y = upright.at(value);
        drawing.line([LEFT, y], [WIDTH, y], if value == 0.0 { "axis" } else { "guide" });
        drawing.text([LEFT - 5.0, y + 4.0], Anchor::End, "quiet", &tick(value, next - value));
    }
    for [second, next] in pairs(&level.ticks(4)) {
        let words = format!("{} s", tick(second, next - second));
        drawing.text([level.at(second), GROUND + 14.0], Anchor::Middle, "quiet", &words);
    }
    for pair in points.windows(2) {
        let [from, to] =
            [pair[0], pair[1]].map(|[second, value]| [level.at(second), upright.at(value)]);
        drawing.line(from, to, "curve");
    }
    let least = values().fold(most, f64::min);
    let at = |point: Option<&[f64; 2]>| point.map_or(0.0, |[_, value]| *value);
    drawing.finish(&format!(
        "{what} from {first:.0} to {last:.0} seconds: {:.1} {unit} at first, {:.1} at last, between {least:.1} and {most:.1}.",
        at(points.first()),
        at(points.last())
    ))
}

/// Each tick with the next one, or one that lies as far beyond it as the last ones lie apart.
fn pairs(ticks: &[f64]) -> Vec<[f64; 2]> {
    let step = ticks.windows(2).next().map_or(1.0, |pair| pair[1] - pair[0]);
    ticks.iter().map(|value| [*value, value + step]).collect()
}
