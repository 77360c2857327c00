//! Numbers for people, the same on stdout and on the page. What is no number was not measured.

/// What stands where no figure is.
pub const NOT_MEASURED: &str = "not measured";

/// `1.087 ×`
pub fn ratio(value: f64) -> String {
    if !is_measured(value) {
        NOT_MEASURED.into()
    } else if value < 10.0 {
        format!("{value:.3} ×")
    } else {
        format!("{value:.1} ×")
    }
}

/// Whether a figure came out of a division by something: a ratio without pairs is `f64::MAX`.
pub fn is_measured(value: f64) -> bool {
    value.is_finite() && value < f64::MAX
}

/// `+0.90`, `-0.12`; what rounds to nothing has no sign.
pub fn signed(value: f64) -> String {
    if value.abs() < 0.005 { "0.00".into() } else { format!("{value:+.2}") }
}

/// `608.2 MB`
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// `9,500,000`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 check`, `2 checks`
pub fn count(number: usize, one: &str) -> String {
    format!("{} {one}{}", grouped(number as u64), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped_by_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(9_500_000), "9,500,000");
    }

    #[test]
    fn a_ratio_that_is_no_number_was_not_measured() {
        assert_eq!(ratio(1.0871), "1.087 ×");
        assert_eq!(ratio(971.0), "971.0 ×");
        for none in [f64::NAN, f64::INFINITY, f64::MAX] {
            assert_eq!(ratio(none), NOT_MEASURED);
        }
    }

    #[test]
    fn what_rounds_to_nothing_has_no_sign() {
        let said = [0.9, -0.12, -0.004, 0.0].map(signed);
        assert_eq!(said, ["+0.90", "-0.12", "0.00", "0.00"]);
    }

    #[test]
    fn one_is_told_apart_from_many() {
        assert_eq!((count(1, "bar"), count(0, "bar")), ("1 bar".into(), "0 bars".into()));
    }
}
