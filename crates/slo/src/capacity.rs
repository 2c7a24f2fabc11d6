//! How many places a service needs: Little's law and Erlang C (M/M/c), not demand / capacity
//! alone: at 90 % use of ten places every second request or so waits.

use crate::Bad;
use crate::bad::{positive, share};
use std::time::Duration;

/// Places at most that are looked at.
pub const MOST: u32 = 100_000;

/// Requests that arrive, and how long each holds a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// λ: requests a second.
    pub rate: f64,
    /// 1/μ: how long one takes.
    pub takes: Duration,
}

/// What waiting for a place is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waiting {
    /// A = λ/μ: places in use on average (Little's law for the places).
    pub load: f64,
    /// ρ = A/c: share of the places in use.
    pub use_: f64,
    /// P(wait), Erlang C: share of the requests that wait at all.
    pub waits: f64,
    /// Wq: how long one waits on average, those that do not wait included.
    pub mean: Duration,
    /// Lq = λ·Wq: how many wait on average (Little's law for the queue).
    pub queue: f64,
}

/// A = λ/μ: places in use on average, by Little's law.
///
/// # Errors
/// When the rate or the time is not above zero.
pub fn load(demand: Demand) -> Result<f64, Bad> {
    Ok(positive("rate", demand.rate)? * positive("takes", demand.takes.as_secs_f64())?)
}

/// What waiting is like with `places`.
///
/// P(wait) = \[Aᶜ/c! · c/(c−A)\] / \[Σₖ₍ₖ₎<c Aᵏ/k! + the same\], by Erlang B's recursion, which does
/// not overflow; Wq = P / (cμ − λ).
///
/// # Errors
/// When the demand makes no sense, there are no places or too many, or more arrives than
/// they can ever do: then the queue grows without end.
pub fn erlang_c(demand: Demand, places: u32) -> Result<Waiting, Bad> {
    let a = load(demand)?;
    let c = f64::from(places);
    if places == 0 || places > MOST {
        return Err(Bad::new("places", format!("{places}: from 1 to {MOST}")));
    }
    if a >= c {
        let why = format!(
            "{places} places are not enough: {a:.2} are in use on average, and the queue grows \
             without end; more than {} are needed",
            a.floor()
        );
        return Err(Bad::new("places", why));
    }
    let blocked = (1..=places).fold(1.0, |b, k| a * b / (f64::from(k) + a * b));
    let rho = a / c;
    let waits = blocked / (1.0 - rho * (1.0 - blocked));
    let rate = 1.0 / demand.takes.as_secs_f64();
    let mean = waits / (c * rate - demand.rate);
    Ok(Waiting {
        load: a,
        use_: rho,
        waits,
        mean: Duration::try_from_secs_f64(mean).unwrap_or(Duration::MAX),
        queue: demand.rate * mean,
    })
}

/// Share of the requests that wait for longer than `time`: P(wait) · e^(−(cμ − λ)·t).
///
/// # Errors
/// As [`erlang_c`].
pub fn waits_longer(demand: Demand, places: u32, time: Duration) -> Result<f64, Bad> {
    let waiting = erlang_c(demand, places)?;
    let rate = f64::from(places) / demand.takes.as_secs_f64() - demand.rate;
    Ok(waiting.waits * (-rate * time.as_secs_f64()).exp())
}

/// The fewest places with which at most `few` of the requests wait for longer than `time`.
///
/// # Errors
/// When the demand makes no sense, `few` is no share above zero, or it takes more than
/// [`MOST`].
pub fn places_for(demand: Demand, time: Duration, few: f64) -> Result<u32, Bad> {
    positive("few", share("few", few)?)?;
    let a = load(demand)?;
    if a >= f64::from(MOST) {
        return Err(Bad::new("rate", format!("needs more than {MOST} places")));
    }
    let enough = |places: u32| Ok(waits_longer(demand, places, time)? <= few);
    let (mut low, mut high) = (a.floor() as u32 + 1, MOST);
    // More places never make it worse: halve what is left.
    while low < high {
        let middle = low + (high - low) / 2;
        if enough(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    enough(low)?
        .then_some(low)
        .ok_or_else(|| Bad::new("rate", format!("needs more than {MOST} places")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn demand(rate: f64, takes: f64) -> Demand {
        Demand { rate, takes: Duration::from_secs_f64(takes) }
    }

    /// The formula as it is written, which is right while nothing overflows.
    fn written_out(a: f64, c: u32) -> f64 {
        let term = |k: u32| (1..=k).fold(1.0, |all, i| all * a / f64::from(i));
        let top = term(c) * f64::from(c) / (f64::from(c) - a);
        top / ((0..c).map(term).sum::<f64>() + top)
    }

    #[test]
    fn known_figures() {
        // One place: M/M/1, where P(wait) = ρ and Wq = ρ/(μ − λ).
        let one = erlang_c(demand(0.5, 1.0), 1).unwrap();
        assert!((one.waits - 0.5).abs() < 1e-12 && (one.mean.as_secs_f64() - 1.0).abs() < 1e-9);
        // A = 10, c = 12: 0.4494 in tables of Erlang C.
        let twelve = erlang_c(demand(10.0, 1.0), 12).unwrap();
        assert!((twelve.waits - 0.449_4).abs() < 1e-3, "{}", twelve.waits);
        assert!((twelve.queue - 10.0 * twelve.mean.as_secs_f64()).abs() < 1e-6);
        // Demand / capacity alone would have called ten places enough for nine.
        let ten = erlang_c(demand(9.0, 1.0), 10).unwrap();
        assert!(ten.use_ < 1.0 && ten.waits > 0.6, "{}", ten.waits);
    }

    #[test]
    fn too_few_places_are_an_error_that_says_how_many() {
        let error = erlang_c(demand(10.0, 1.0), 10).unwrap_err();
        assert!(error.to_string().contains("more than 10"), "{error}");
        for bad in [demand(0.0, 1.0), demand(f64::NAN, 1.0), demand(1.0, 0.0)] {
            assert!(erlang_c(bad, 5).is_err());
        }
        assert!(places_for(demand(1e9, 1.0), Duration::ZERO, 0.1).is_err());
        assert!(places_for(demand(1.0, 1.0), Duration::ZERO, 0.0).is_err());
    }

    proptest! {
        #[test]
        fn the_recursion_is_the_formula(a in 0.01f64..40.0, more in 1u32..20) {
            let c = a.ceil() as u32 + more;
            let found = erlang_c(demand(a, 1.0), c).unwrap().waits;
            prop_assert!((found - written_out(a, c)).abs() < 1e-9);
        }

        #[test]
        fn the_fewest_places_are_enough_and_one_less_is_not(rate in 0.1f64..200.0, few in 0.001f64..0.5) {
            let (d, time) = (demand(rate, 0.7), Duration::from_millis(200));
            let found = places_for(d, time, few).unwrap();
            prop_assert!(waits_longer(d, found, time).unwrap() <= few);
            let less = found - 1;
            let too_few = less == 0 || waits_longer(d, less, time).map_or(true, |w| w > few);
            prop_assert!(too_few);
        }
    }
}
