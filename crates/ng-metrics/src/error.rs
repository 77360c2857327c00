//! Why a metric was not registered; each message says which name and which rule.

/// A metric that a [`Registry`](crate::Registry) refused. Nothing was registered.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The registry's prefix breaks a rule.
    #[error("metric prefix {prefix:?} refused: {rule}")]
    Prefix {
        /// The prefix as given.
        prefix: String,
        /// What it had to be.
        rule: &'static str,
    },
    /// The metric's name breaks a rule.
    #[error("metric name {name:?} refused: {rule}")]
    Name {
        /// The name as given.
        name: String,
        /// What it had to be.
        rule: &'static str,
    },
    /// The name is taken.
    #[error("metric name {name:?} refused: there is one of that name already")]
    Duplicate {
        /// The name as given.
        name: String,
    },
    /// A counter or histogram `x` has a sample `x_created`, which another family's name would meet.
    #[error("metric name {name:?} refused: its samples would meet those of {with:?}")]
    Clash {
        /// The name as given.
        name: String,
        /// The family that is there already.
        with: String,
    },
    /// The help text breaks a rule.
    #[error("help text of metric {name:?} refused: {rule}")]
    Help {
        /// The metric's name.
        name: String,
        /// What it had to be.
        rule: &'static str,
    },
    /// A label's name breaks a rule, or the set of labels does.
    #[error("label {label:?} of metric {name:?} refused: {rule}")]
    Label {
        /// The metric's name.
        name: String,
        /// The label's name as given.
        label: String,
        /// What it had to be.
        rule: &'static str,
    },
    /// A family's bound on its series is outside the allowed range.
    #[error("bound of {max_series} series for metric {name:?} refused: allowed are 1 to {limit}")]
    MaxSeries {
        /// The metric's name.
        name: String,
        /// The bound as given.
        max_series: usize,
        /// The largest bound allowed.
        limit: usize,
    },
}
