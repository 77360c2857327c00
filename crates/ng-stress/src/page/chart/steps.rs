//! A waterfall: each step begins where the one before it ended; the last bar is the sum.

use super::{Anchor, Drawing, Scale, WIDTH, tick};
use crate::figures::signed;

/// One step.
#[derive(Debug)]
pub struct Step {
    /// In plain words, short.
    pub name: &'static str,
    /// What it adds; less than nothing where the measurement says so.
    pub adds: f64,
    /// Whether it belongs to what all others stand beside.
    pub is_base: bool,
}

const ROW: f64 = 21.0;
const NAMES: f64 = 122.0;
const FIGURES: f64 = 56.0;

/// The drawing. `what` begins its words, `sum` names the last bar.
pub fn draw(what: &str, steps: &[Step], sum: &str, unit: &str) -> String {
    let mut reached = vec![0.0];
    for step in steps {
        reached.push(reached.last().copied().unwrap_or(0.0) + step.adds);
    }
    let total = reached.last().copied().unwrap_or(0.0);
    let low = reached.iter().copied().fold(0.0, f64::min);
    let high = reached.iter().copied().fold(0.0, f64::max);
    let scale = Scale::new([low, high], [NAMES, WIDTH - FIGURES]);
    let ground = ROW * (steps.len() + 1) as f64 + 4.0;
    let mut drawing = Drawing::new(ground + 18.0);
    let ticks = scale.ticks(4);
    let distance = ticks.windows(2).map(|pair| pair[1] - pair[0]).next().unwrap_or(1.0);
    for value in ticks {
        let x = scale.at(value);
        drawing.line([x, 0.0], [x, ground], "axis");
        drawing.text([x, ground + 13.0], Anchor::Middle, "quiet", &tick(value, distance * 1.001));
    }
    for (row, (step, edge)) in steps.iter().zip(reached.windows(2)).enumerate() {
        let class = match step {
            step if step.adds < 0.0 => "f-less",
            step if step.is_base => "f-floor",
            _ => "f-ours",
        };
        let shown = if step.is_base { format!("{:.2}", step.adds) } else { signed(step.adds) };
        let [from, to] = [edge[0].min(edge[1]), edge[0].max(edge[1])].map(|value| scale.at(value));
        bar(&mut drawing, row, step.name, [from, to], class, &shown);
    }
    let [from, to] = [total.min(0.0), total.max(0.0)].map(|value| scale.at(value));
    bar(&mut drawing, steps.len(), sum, [from, to], "f-total", &format!("{total:.2}"));
    let each: Vec<_> = steps.iter().map(|s| format!("{} {}", s.name, signed(s.adds))).collect();
    drawing.finish(&format!("{what}: {}; {sum} {total:.2} {unit}.", each.join(", ")))
}

fn bar(
    drawing: &mut Drawing,
    row: usize,
    name: &str,
    [from, to]: [f64; 2],
    class: &str,
    shown: &str,
) {
    let y = ROW * row as f64;
    let strong = if class == "f-total" { "strong" } else { "" };
    drawing.text([0.0, y + 14.0], Anchor::Start, strong, name);
    drawing.rect([from, y + 4.0], [to - from, ROW - 8.0], class);
    drawing.text([WIDTH, y + 14.0], Anchor::End, strong, shown);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_have_each_step_and_the_sum() {
        let steps = [
            Step { name: "base", adds: 5.0, is_base: true },
            Step { name: "less", adds: -1.0, is_base: false },
        ];
        let drawn = draw("time", &steps, "all", "ns");
        assert!(drawn.contains("time: base +5.00, less -1.00; all 4.00 ns."), "{drawn}");
        assert!(drawn.contains("f-less") && drawn.contains("f-total"));
    }
}
