//! How a figure moves with time, and how sure that is: least squares, with the 95 % interval of the slope.

use serde::Serialize;

/// Two-sided 95 % of the normal distribution: there are tens of samples at least.
const Z: f64 = 1.96;
/// Samples that neighbours resemble count for fewer; each of these stretches counts as one residual.
const STRETCHES: usize = 20;

/// A change by the minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Slope {
    /// Unit: that of the figure, a minute.
    pub per_minute: f64,
    /// 95 % interval.
    pub interval: [f64; 2],
    /// Mean of the figure.
    pub mean: f64,
    /// Samples behind it.
    pub samples: usize,
}

impl Slope {
    /// Of (seconds, value) pairs in the order of time, averaged over stretches; `None` of too few.
    pub fn of(samples: &[(f64, f64)]) -> Option<Self> {
        let each = samples.len().div_ceil(STRETCHES).max(1);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let middle = |stretch: &[(f64, f64)]| {
            let (times, values): (Vec<f64>, Vec<f64>) = stretch.iter().copied().unzip();
            (mean(&times) / 60.0, mean(&values))
        };
        let points: Vec<(f64, f64)> = samples.chunks(each).map(middle).collect();
        if points.len() < 4 {
            return None;
        }
        let (minutes, values): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        let (at, value) = (mean(&minutes), mean(&values));
        let spread: f64 = minutes.iter().map(|minute| (minute - at).powi(2)).sum();
        let slope = points.iter().map(|(m, v)| (m - at) * (v - value)).sum::<f64>() / spread;
        let residual = |(m, v): &(f64, f64)| (v - value - slope * (m - at)).powi(2);
        let freedom = (points.len() - 2) as f64;
        let error = (points.iter().map(residual).sum::<f64>() / freedom / spread).sqrt();
        Some(Self {
            per_minute: slope,
            interval: [slope - Z * error, slope + Z * error],
            mean: value,
            samples: samples.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_slope_lies_in_its_interval_and_noise_alone_has_none() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut samples = |per_minute: f64| -> Vec<(f64, f64)> {
            let value = |second: i32| 100.0 + per_minute * f64::from(second) / 60.0;
            (0..600).map(|second| (f64::from(second), value(second) + rng.f64())).collect()
        };
        let grows = Slope::of(&samples(2.0)).expect("enough");
        assert!((1.9..2.1).contains(&grows.per_minute) && grows.interval[0] > 1.5, "{grows:?}");
        let steady = Slope::of(&samples(0.0)).expect("enough");
        assert!(steady.interval[0] < 0.0 && steady.interval[1] > 0.0, "{steady:?}");
        assert_eq!(Slope::of(&[(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)]), None);
    }
}
