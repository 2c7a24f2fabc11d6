//! How certain a share is that was counted.

/// z for 95 % of the normal distribution, both sides.
pub const Z95: f64 = 1.959_963_984_540_054;

/// Wilson's score interval (Wilson 1927) for `hits` of `all`, at `z` standard deviations: lower
/// and upper bound, each a share. Unlike p ± z·√(p(1 − p)/n) it is right for few events and for
/// none: no failure among 10 requests says only that at most 28 % fail.
///
/// `None` where nothing was counted.
#[must_use]
pub fn interval(hits: u64, all: u64, z: f64) -> Option<(f64, f64)> {
    if all == 0 {
        return None;
    }
    let n = all as f64;
    let p = hits.min(all) as f64 / n;
    let z2 = z * z;
    let middle = p + z2 / (2.0 * n);
    let spread = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    Some((((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_intervals() {
        let (low, high) = interval(0, 10, Z95).unwrap();
        assert!(low == 0.0 && (high - 0.277_5).abs() < 1e-4, "{high}");
        let (low, high) = interval(1, 10, Z95).unwrap();
        assert!((low - 0.017_9).abs() < 1e-4 && (high - 0.404_2).abs() < 1e-4, "{low} {high}");
        assert_eq!(interval(0, 0, Z95), None);
    }

    proptest! {
        #[test]
        fn it_holds_the_share_and_narrows(all in 1u64..100_000, part in 0.0f64..=1.0) {
            let hits = (all as f64 * part) as u64;
            let (low, high) = interval(hits, all, Z95).unwrap();
            let p = hits as f64 / all as f64;
            prop_assert!(low <= p + 1e-12 && p <= high + 1e-12 && low >= 0.0 && high <= 1.0);
            let (narrow_low, narrow_high) = interval(hits * 100, all * 100, Z95).unwrap();
            prop_assert!(narrow_high - narrow_low < high - low);
        }
    }
}
