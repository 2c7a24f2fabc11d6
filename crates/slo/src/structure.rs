//! Availability of what is built of parts: in series, in parallel, k of n.
//!
//! Parts are taken to fail independently unless said otherwise; in practice they share power, a
//! model file, a bad release, and a failed part must be noticed before another stands in. So
//! [`of_replicas`] takes both into account: without, the result flatters.

use crate::Bad;
use crate::bad::share;

/// Parts at most: beyond it the question is another one.
pub const MOST: u32 = 1000;

/// All parts are needed: the product.
///
/// # Errors
/// When one is no share.
pub fn series(parts: &[f64]) -> Result<f64, Bad> {
    parts.iter().try_fold(1.0, |all, part| Ok(all * share("series", *part)?))
}

/// One part is enough: 1 − ∏(1 − A).
///
/// # Errors
/// When one is no share, or there is none.
pub fn parallel(parts: &[f64]) -> Result<f64, Bad> {
    if parts.is_empty() {
        return Err(Bad::new("parallel", "needs at least one part"));
    }
    let none = parts.iter().try_fold(1.0, |all, part| Ok(all * (1.0 - share("parallel", *part)?)));
    Ok(1.0 - none?)
}

/// At least `k` of `n` equal parts are needed: binomial.
///
/// # Errors
/// When `k` is not from 1 to `n`, `n` is beyond [`MOST`], or `a` is no share.
pub fn k_of_n(k: u32, n: u32, a: f64) -> Result<f64, Bad> {
    covered(k, n, a, 1.0)
}

/// What stands between replicas and independence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reality {
    /// β: which share of a part's failures hit all parts at once (Fleming's β-factor model;
    /// 0.01 to 0.1 is usual for alike parts).
    pub common: f64,
    /// c: with which probability the failure of a part is noticed and routed around (coverage,
    /// after Bouricius, Carter and Schneider).
    pub coverage: f64,
}

impl Reality {
    /// Independent parts and a perfect switch: what flatters.
    pub const IDEAL: Self = Self { common: 0.0, coverage: 1.0 };
}

/// At least `k` of `n` equal replicas are needed, in reality.
///
/// A part's unavailability q = 1 − A is split: βq befalls all together, (1 − β)q each by
/// itself, and each failure that is survived has to be covered:
/// (1 − βq) · Σⱼ₌₀ⁿ⁻ᵏ C(n, j) · aⁿ⁻ʲ (1 − a)ʲ cʲ with a = 1 − (1 − β)q.
///
/// # Errors
/// As [`k_of_n`], and when `reality` holds no shares.
pub fn of_replicas(k: u32, n: u32, a: f64, reality: Reality) -> Result<f64, Bad> {
    let q = 1.0 - share("availability", a)?;
    let beta = share("beta", reality.common)?;
    let alone = covered(k, n, 1.0 - (1.0 - beta) * q, reality.coverage)?;
    Ok((1.0 - beta * q) * alone)
}

fn covered(k: u32, n: u32, a: f64, coverage: f64) -> Result<f64, Bad> {
    let (a, c) = (share("availability", a)?, share("coverage", coverage)?);
    if k == 0 || k > n {
        return Err(Bad::new("need", format!("{k} of {n}: it must be from 1 to the replicas")));
    }
    if n > MOST {
        return Err(Bad::new("replicas", format!("{n}: at most {MOST}")));
    }
    // Terms by logarithms: binomials of hundreds do not fit, their products do.
    let term = |j: u32| {
        let up = f64::from(n - j);
        let logs = [(a, up), (1.0 - a, f64::from(j)), (c, f64::from(j))];
        let powers: f64 = logs.iter().map(|(x, n)| if *n == 0.0 { 0.0 } else { n * x.ln() }).sum();
        (ln_choose(n, j) + powers).exp()
    };
    Ok((0..=n - k).map(term).sum::<f64>().min(1.0))
}

fn ln_choose(n: u32, k: u32) -> f64 {
    (0..k).map(|i| f64::from(n - i).ln() - f64::from(i + 1).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn the_usual_figures() {
        assert!(near(series(&[0.99, 0.999]).unwrap(), 0.98901));
        assert!(near(parallel(&[0.99, 0.99]).unwrap(), 0.9999));
        assert!(near(k_of_n(2, 3, 0.99).unwrap(), 0.999_702));
        assert!(near(k_of_n(1, 1, 0.99).unwrap(), 0.99));
        assert!(near(k_of_n(3, 3, 0.99).unwrap(), 0.99f64.powi(3)));
        assert!(near(series(&[]).unwrap(), 1.0), "nothing is needed");
    }

    #[test]
    fn reality_costs_what_independence_promises() {
        let ideal = of_replicas(1, 3, 0.99, Reality::IDEAL).unwrap();
        assert!(near(ideal, 0.999_999));
        // A tenth in common: three nines of it are gone.
        let common = of_replicas(1, 3, 0.99, Reality { common: 0.1, coverage: 1.0 }).unwrap();
        assert!((common - 0.999).abs() < 2e-6, "{common}");
        // Two parts, written out: a² + 2a(1 − a)c.
        let c = of_replicas(1, 2, 0.99, Reality { common: 0.0, coverage: 0.95 }).unwrap();
        assert!(near(c, 0.9801 + 2.0 * 0.99 * 0.01 * 0.95));
        // With a bad switch more parts make it worse.
        let bad = Reality { common: 0.0, coverage: 0.4 };
        assert!(of_replicas(1, 3, 0.99, bad).unwrap() < of_replicas(1, 1, 0.99, bad).unwrap());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (found, name) in [
            (series(&[1.5]), "series"),
            (parallel(&[]), "parallel"),
            (parallel(&[-0.1]), "parallel"),
            (k_of_n(0, 3, 0.9), "need"),
            (k_of_n(4, 3, 0.9), "need"),
            (k_of_n(1, 2000, 0.9), "replicas"),
            (of_replicas(1, 2, 0.9, Reality { common: 2.0, coverage: 1.0 }), "beta"),
            (of_replicas(1, 2, 0.9, Reality { common: 0.0, coverage: f64::NAN }), "coverage"),
        ] {
            assert_eq!(found.unwrap_err().name, name);
        }
    }

    proptest! {
        #[test]
        fn bounds_hold(n in 1u32..60, k in 1u32..60, a in 0.0f64..=1.0, b in 0.0f64..=1.0, c in 0.0f64..=1.0) {
            prop_assume!(k <= n);
            let ideal = k_of_n(k, n, a).unwrap();
            let real = of_replicas(k, n, a, Reality { common: b, coverage: c }).unwrap();
            let independent = of_replicas(k, n, a, Reality { common: 0.0, coverage: c }).unwrap();
            prop_assert!((0.0..=1.0).contains(&real) && independent <= ideal + 1e-9);
            let all = vec![a; n as usize];
            prop_assert!((k_of_n(n, n, a).unwrap() - series(&all).unwrap()).abs() < 1e-9);
            prop_assert!((k_of_n(1, n, a).unwrap() - parallel(&all).unwrap()).abs() < 1e-9);
        }
    }
}
