//! How values lie: a histogram, with a tick for each value below it, the median and the quartiles.

use super::{Anchor, Drawing, Scale, WIDTH, tick};
use crate::statistics::{median, quartiles};

const TOP: f64 = 30.0;
const GROUND: f64 = 130.0;
const SIDE: f64 = 16.0;
/// Below the ground: a tick for each value, then the axis's figures.
const TICKS: [f64; 2] = [GROUND + 3.0, GROUND + 10.0];
const FIGURES: f64 = GROUND + 24.0;

/// The drawing, or none without at least two values; `what` begins its words.
pub fn draw(what: &str, values: &[f64]) -> Option<String> {
    let values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let (middle, [low, high]) = median(&values).zip(quartiles(&values))?;
    let [least, most] = [f64::min, f64::max].map(|of| values.iter().copied().reduce(of));
    let (least, most) = least.zip(most).filter(|_| values.len() > 1)?;
    let scale = Scale::new([least, most], [SIDE, WIDTH - SIDE]);
    let mut drawing = Drawing::new(FIGURES + 6.0);

    drawing.rect([scale.at(low), TOP], [scale.at(high) - scale.at(low), GROUND - TOP], "f-band");
    let counts = counts(&values, [least, most]);
    let width = (WIDTH - 2.0 * SIDE) / counts.len() as f64;
    let heights =
        Scale::new([0.0, counts.iter().copied().max().unwrap_or(0) as f64], [GROUND, TOP + 4.0]);
    for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let y = heights.at(*count as f64);
        drawing.rect([SIDE + width * bin as f64 + 0.5, y], [width - 1.0, GROUND - y], "f-ours");
    }
    drawing.line([0.0, GROUND], [WIDTH, GROUND], "axis");
    for value in &values {
        let x = scale.at(*value);
        drawing.line([x, TICKS[0]], [x, TICKS[1]], "middle");
    }
    let x = scale.at(middle);
    drawing.line([x, TOP - 6.0], [x, GROUND], "middle");
    let words = format!("median {middle:.3}, quartiles {low:.3} to {high:.3}");
    drawing.text([WIDTH / 2.0, TOP - 16.0], Anchor::Middle, "strong", &words);
    let ticks = scale.ticks(4);
    let step = ticks.windows(2).map(|pair| pair[1] - pair[0]).next().unwrap_or(0.01);
    for value in ticks {
        let x = scale.at(value);
        drawing.text([x, FIGURES], Anchor::Middle, "quiet", &tick(value, step * 1.001));
    }
    let count = values.len();
    Some(drawing.finish(&format!("{what}: {count} values from {least:.3} to {most:.3}, {words}.")))
}

/// How many values lie in each of some bins of equal width; more values, finer bins.
fn counts(values: &[f64], [least, most]: [f64; 2]) -> Vec<usize> {
    let bins = ((values.len() as f64).sqrt() * 2.0).round().clamp(4.0, 40.0) as usize;
    let mut counts = vec![0; bins];
    let width = (most - least).max(f64::MIN_POSITIVE);
    for value in values {
        let bin = ((value - least) / width * bins as f64) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_once() {
        let values = [1.0, 1.1, 1.2, 1.3, 1.4, 2.0];
        assert_eq!(counts(&values, [1.0, 2.0]).iter().sum::<usize>(), values.len());
        assert_eq!(counts(&[1.0, 1.0], [1.0, 1.0]).iter().sum::<usize>(), 2);
    }

    #[test]
    fn one_value_has_no_distribution_and_equal_ones_have() {
        assert_eq!(draw("x", &[1.0]), None);
        let drawn = draw("ratio", &[1.0, 1.0, 1.0]).expect("drawn");
        assert!(drawn.contains("ratio: 3 values from 1.000 to 1.000, median 1.000"));
        assert!(!drawn.contains("NaN"));
    }
}
