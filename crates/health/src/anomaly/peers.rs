//! Who is unlike the others at the same moment.

/// How many scales from the median is unlike: with a scale of 1.4826 median absolute
/// deviations, which for normal noise is one standard deviation (Iglewicz and Hoaglin 1993).
const UNLIKE: f64 = 3.5;
/// A difference below this share of the median is none, however alike the others are.
const SAME: f64 = 0.25;
/// With fewer there is no majority to be unlike.
const LEAST: usize = 3;

/// For each of several values at one moment whether it is unlike the others.
#[must_use]
pub fn unlike(values: &[f64]) -> Vec<bool> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    if sorted.len() < LEAST {
        return vec![false; values.len()];
    }
    let middle = median(&mut sorted);
    let mut deviations: Vec<f64> = sorted.iter().map(|v| (v - middle).abs()).collect();
    let scale = 1.4826 * median(&mut deviations);
    let bound = (UNLIKE * scale).max(SAME * middle.abs());
    values.iter().map(|v| v.is_finite() && (v - middle).abs() > bound).collect()
}

/// The median of values that are numbers; sorts them.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_is_unlike_and_of_two_nobody() {
        assert_eq!(unlike(&[10.0, 11.0, 10.5, 40.0]), [false, false, false, true]);
        assert_eq!(unlike(&[10.0, 10.0, 10.0, 12.0]), [false; 4]);
        assert_eq!(unlike(&[10.0, 400.0]), [false; 2]);
        assert_eq!(unlike(&[1.0, 5.0, 9.0, 13.0]), [false; 4]);
        assert_eq!(unlike(&[10.0, f64::NAN, 10.0, 10.0, 99.0]), [false, false, false, false, true]);
        assert!(unlike(&[]).is_empty());
    }
}
