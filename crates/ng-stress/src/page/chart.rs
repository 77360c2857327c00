//! Drawings as inline SVG, 360 units wide: about as many as a telephone has points, so that letters keep their size
//! there. Colours come from the page's style. Each drawing says in words what it shows.

pub mod bars;
pub mod columns;
pub mod curve;
pub mod spread;
pub mod steps;
pub mod timeline;

use std::fmt::Write;

use crate::html::escape;

/// Width of each drawing, in its own units.
pub const WIDTH: f64 = 360.0;

/// Where a text is held.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    /// Its left end.
    Start,
    /// Its middle.
    Middle,
    /// Its right end.
    End,
}

/// A drawing under way.
#[derive(Debug)]
pub struct Drawing {
    height: f64,
    body: String,
}

impl Drawing {
    /// An empty one.
    pub fn new(height: f64) -> Self {
        Self { height, body: String::new() }
    }

    /// A rectangle; one without area is drawn as a hair, so that it can be seen where it is.
    pub fn rect(&mut self, [x, y]: [f64; 2], [width, height]: [f64; 2], class: &str) {
        let (x, y) = (place(x), place(y));
        let (width, height) = (place(width).max(0.75), place(height).max(0.75));
        self.put(format_args!(
            "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" rx=\"1.5\"/>"
        ));
    }

    /// A straight line.
    pub fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], class: &str) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(place);
        self.put(format_args!("<path class=\"{class}\" d=\"M{x1:.2} {y1:.2}L{x2:.2} {y2:.2}\"/>"));
    }

    /// A dot.
    pub fn dot(&mut self, [x, y]: [f64; 2], radius: f64, class: &str) {
        let [x, y] = [x, y].map(place);
        self.put(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius}\"/>"
        ));
    }

    /// Plain text; `y` is its base line.
    pub fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, class: &str, words: &str) {
        let [x, y] = [x, y].map(place);
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let words = escape(words);
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" text-anchor=\"{anchor}\">{words}</text>"
        ));
    }

    /// The element. `says` is for those who do not see it.
    pub fn finish(self, says: &str) -> String {
        let Self { height, body } = self;
        let says = escape(says);
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{says}\">\n{body}</svg>"
        )
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "{element}");
    }
}

/// A coordinate that is no number would make the whole drawing invalid.
fn place(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

/// Where values lie on the paper.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// `low` lies at `from`, `high` at `to`; a range without width is made one.
    pub fn new([low, high]: [f64; 2], [from, to]: [f64; 2]) -> Self {
        let high = if high > low { high } else { low + low.abs().max(1.0) * 0.01 };
        Self { low, high, from, to }
    }

    /// The place of `value`.
    pub fn at(self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Round values inside the range, about `count` of them.
    pub fn ticks(self, count: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / count.max(1) as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|s| s * power);
        let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).take(50).map(|n| n as f64 * step).collect()
    }
}

/// A value of an axis, with as many digits as its steps need.
pub fn tick(value: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}

/// A drawing with its title, what it shows in a sentence, and its numbers as a table to unfold.
pub fn figure(title: &str, note: &str, drawing: &str, numbers: &str) -> String {
    let (title, note) = (escape(title), escape(note));
    let small = if note.is_empty() { String::new() } else { format!("<small>{note}</small>") };
    format!(
        "<figure>\n<figcaption>{title}{small}</figcaption>\n{drawing}\n\
         <details><summary>The numbers</summary>\n{numbers}\n</details>\n</figure>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale::new([1.04, 1.22], [0.0, 100.0]);
        let ticks: Vec<_> = scale.ticks(4).into_iter().map(|t| tick(t, 0.05)).collect();
        assert_eq!(ticks, ["1.05", "1.10", "1.15", "1.20"]);
        assert_eq!(scale.at(1.04), 0.0);
        assert!((scale.at(1.22) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn values_without_a_range_and_no_numbers_are_drawn_all_the_same() {
        let scale = Scale::new([5.0, 5.0], [0.0, 100.0]);
        assert!(scale.at(5.0).is_finite() && scale.ticks(4).len() < 50);
        let mut drawing = Drawing::new(10.0);
        drawing.rect([f64::NAN, 0.0], [f64::INFINITY, 1.0], "f-ours");
        assert!(!drawing.finish("x").contains("NaN"));
    }
}
