//! Input that the arithmetic has no answer for.

/// A number that makes no sense where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct Bad {
    /// Which number.
    pub name: &'static str,
    /// What is wrong with it, and what would be right.
    pub why: String,
}

impl Bad {
    pub(crate) fn new(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, why: why.into() }
    }
}

/// A share: from 0 to 1.
pub(crate) fn share(name: &'static str, value: f64) -> Result<f64, Bad> {
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(Bad::new(name, format!("{value} is no share; it must be from 0 to 1")))
}

/// A number above zero.
pub(crate) fn positive(name: &'static str, value: f64) -> Result<f64, Bad> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(Bad::new(name, format!("{value} must be above 0")))
}
