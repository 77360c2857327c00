//! The eight spaces and their scales.

/// One of the eight spaces a token lies in, with the scale of its coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum Space {
    /// L1, scale 100.
    Physical,
    /// L2, scale 10,000.
    Sensory,
    /// L3, scale 1,000.
    Motor,
    /// L4, scale 10,000.
    Emotional,
    /// L5, scale 10,000.
    Cognitive,
    /// L6, scale 10,000.
    Social,
    /// L7, scale 100.
    Temporal,
    /// L8, scale 10,000.
    Abstract,
}

impl Space {
    /// All eight, in order.
    pub const ALL: [Space; 8] = [
        Space::Physical,
        Space::Sensory,
        Space::Motor,
        Space::Emotional,
        Space::Cognitive,
        Space::Social,
        Space::Temporal,
        Space::Abstract,
    ];

    /// Steps per unit: a coordinate is stored as `value × scale`, rounded to the nearest, ties to even.
    pub const fn scale(self) -> f64 {
        match self {
            Space::Physical | Space::Temporal => 100.0,
            Space::Motor => 1_000.0,
            Space::Sensory
            | Space::Emotional
            | Space::Cognitive
            | Space::Social
            | Space::Abstract => 10_000.0,
        }
    }
}
