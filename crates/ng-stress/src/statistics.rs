//! Medians, quartiles and the bootstrap. Knows nothing of what was measured: the bench report includes this file too.

/// The value in the middle; None of no values. Not-a-number sorts last.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// First and third quartile.
pub fn quartiles(values: &[f64]) -> Option<[f64; 2]> {
    Some([quantile(values, 0.25)?, quantile(values, 0.75)?])
}

/// Samples that the bootstrap draws; its ends then move by a fiftieth of their distance from one seed to the next.
const RESAMPLES: usize = 2000;

/// 95 % interval of the median.
pub fn interval(values: &[f64]) -> Option<[f64; 2]> {
    bootstrap(values.len(), |drawn| median(&of(values, drawn)))
}

/// 95 % interval of a figure of `count` measurements by the percentile bootstrap: the figure of as many, drawn with
/// replacement and told by their numbers. The same measurements give the same interval: the draws have a seed of their own.
pub fn bootstrap(
    count: usize,
    mut figure: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<[f64; 2]> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut drawn = vec![0; count];
    let mut figures = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        drawn.fill_with(|| rng.usize(..count));
        figures.push(figure(&drawn)?);
    }
    Some([quantile(&figures, 0.025)?, quantile(&figures, 0.975)?])
}

/// The values with these numbers.
pub fn of(values: &[f64], drawn: &[usize]) -> Vec<f64> {
    drawn.iter().filter_map(|number| values.get(*number).copied()).collect()
}

/// Median of whole numbers.
pub fn median_u64(values: impl IntoIterator<Item = u64>) -> Option<u64> {
    let values: Vec<f64> = values.into_iter().map(|v| v as f64).collect();
    median(&values).map(|v| v.round() as u64)
}

/// Between the two nearest values, in proportion.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quartiles_of_few_values() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median_u64([9, 1, 5]), Some(5));
        assert_eq!(quartiles(&[5.0, 1.0, 3.0, 2.0, 4.0]), Some([2.0, 4.0]));
    }

    /// Of 31 values with deviation 0.1 around 1.2; by chance 950 of 1000 hold it, and a few less for so few values.
    #[test]
    fn the_interval_of_a_median_holds_the_truth_about_that_often() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut held = 0;
        for _ in 0..300 {
            let noise = |rng: &mut fastrand::Rng| (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
            let values: Vec<f64> = (0..31).map(|_| 1.2 + 0.1 * noise(&mut rng)).collect();
            let [low, high] = interval(&values).expect("of some values");
            assert!(high - low < 0.25, "{low} to {high}");
            held += u32::from((low..=high).contains(&1.2));
        }
        assert!((270..=297).contains(&held), "{held} of 300");
        assert_eq!(interval(&[]), None);
        assert_eq!(interval(&[1.5]), Some([1.5, 1.5]));
    }
}
