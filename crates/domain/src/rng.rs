//! The one place where randomness is born.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A generator of its own for one worker or task, seeded from the operating system.
/// Tests build theirs with [`seeded`].
#[must_use]
pub fn from_os() -> fastrand::Rng {
    // `RandomState` takes its keys from the operating system's entropy.
    seeded(RandomState::new().build_hasher().finish())
}

/// A generator whose run can be repeated.
#[must_use]
pub fn seeded(seed: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed)
}

/// `base` changed by up to `share` of itself in either direction: what keeps many
/// timers from firing together.
#[must_use]
pub fn jittered(
    base: std::time::Duration,
    share: f64,
    rng: &mut fastrand::Rng,
) -> std::time::Duration {
    base.mul_f64((1.0 + share * (rng.f64() * 2.0 - 1.0)).max(0.0))
}
