//! Medians and spreads, and how they are printed.

use std::fmt;

/// Numbers in order.
pub(super) struct Spread(Vec<f64>);

impl Spread {
    pub(super) fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut numbers: Vec<f64> = numbers.collect();
        numbers.sort_by(f64::total_cmp);
        Self(numbers)
    }

    pub(super) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(super) fn upper_quartile(&self) -> f64 {
        self.quantile(0.75)
    }

    /// Between two numbers, in proportion.
    #[expect(clippy::cast_sign_loss, reason = "a place in a list")]
    fn quantile(&self, q: f64) -> f64 {
        let at = q * (self.0.len().max(1) - 1) as f64;
        let number = |at: f64| self.0.get(at as usize).copied().unwrap_or(f64::NAN);
        let (below, above) = (number(at.floor()), number(at.ceil()));
        below + (above - below) * at.fract()
    }
}

impl fmt::Display for Spread {
    /// Median, quartiles, extremes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let q = |q| self.quantile(q);
        write!(f, "{:.4}  {:.4}..{:.4}  {:.4}..{:.4}", q(0.5), q(0.25), q(0.75), q(0.0), q(1.0))
    }
}

/// `met` or `missed`.
pub(super) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0].into_iter());
        assert_eq!(spread.to_string(), "2.5000  1.7500..3.2500  1.0000..4.0000");
        assert!(Spread::of(std::iter::empty()).median().is_nan());
    }
}
