//! The physical value of a signal.

use std::fmt;

/// Numbers with more decimals are printed with six significant digits instead.
const DECIMALS_MAX: usize = 9;
/// Whole numbers up to this are exact in an f64.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A physical value, exact where it is a whole number: counters and serial numbers of 64 bits do not fit an f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// From a raw integer, a whole factor and a whole offset.
    Whole(i128),
    /// Any other; from an IEEE signal also infinite or not a number.
    Float(f64),
}

impl Value {
    pub(super) fn scaled(raw: i128, factor: f64, offset: f64) -> Self {
        let whole = |number: f64| (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i128);
        let exact = || raw.checked_mul(whole(factor)?)?.checked_add(whole(offset)?);
        exact().map_or_else(|| Self::Float(raw as f64 * factor + offset), Self::Whole)
    }

    /// The nearest f64, for plots and comparisons.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    /// Without the noise of binary fractions, if it has this many decimals.
    pub(super) fn rounded(self, decimals: Option<usize>) -> Self {
        match (self, decimals) {
            (Self::Float(value), Some(decimals @ ..=DECIMALS_MAX)) => {
                Self::Float(format!("{value:.decimals$}").parse().unwrap_or(value))
            }
            _ => self,
        }
    }

    /// With this many decimals; without a number, with six significant digits.
    pub(super) fn text(self, decimals: Option<usize>) -> String {
        match (self, decimals) {
            (Self::Whole(value), _) => value.to_string(),
            (Self::Float(value), Some(decimals @ ..=DECIMALS_MAX)) if value.is_finite() => {
                format!("{value:.decimals$}")
            }
            (Self::Float(value), _) => short(value),
        }
    }
}

/// With six significant digits, unless it is a whole number.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text(None))
    }
}

/// Six significant digits; with an exponent if it is very large or small.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    match value.abs().log10().floor() as i32 {
        exponent @ -5..=8 => {
            let text = format!("{value:.*}", usize::try_from(5 - exponent).unwrap_or(0));
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
        _ => format!("{value:.5e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_64_bits_stay_exact() {
        assert_eq!(Value::scaled(u64::MAX.into(), 1.0, 1.0), Value::Whole(1 << 64));
        assert_eq!(Value::scaled(u64::MAX.into(), 1e300, 0.0), Value::Float(u64::MAX as f64 * 1e300));
    }

    #[test]
    fn values_have_the_decimals_of_their_scale() {
        assert_eq!(Value::scaled(3, 0.1, 0.0).text(Some(1)), "0.3");
        assert_eq!(Value::Float(f64::NAN).text(Some(1)), "NaN");
        let six = [(0.1 + 0.2, "0.3"), (1234.5678, "1234.57"), (1.5e20, "1.50000e20"), (-0.0, "-0")];
        for (value, text) in six {
            assert_eq!(Value::Float(value).text(None), text);
        }
    }
}
