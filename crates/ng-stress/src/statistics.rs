//! Medians and quartiles. A ratio is the median of the ratios of its pairs, never a ratio of medians:
//! what slows the machine for a second then slows both sides of the same pair.

/// The value in the middle; None of no values. Not-a-number sorts last.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// First and third quartile.
pub fn quartiles(values: &[f64]) -> Option<[f64; 2]> {
    Some([quantile(values, 0.25)?, quantile(values, 0.75)?])
}

/// Distance of the quartiles, as a share of the median.
pub fn relative_spread(values: &[f64]) -> Option<f64> {
    let [low, high] = quartiles(values)?;
    Some((high - low) / median(values)?)
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
        assert_eq!(relative_spread(&[1.0, 2.0, 3.0]), Some(0.5));
    }
}
