//! The benchmark's windowed Gaussian: how improbable a value is for a normal distribution with
//! the mean and deviation of a long window, moved on in steps.

const WINDOW: usize = 6400;
const STEP: usize = 100;

pub(crate) fn scores(values: &Vec<(u64, f64)>) -> Vec<f64> {
    let (mut window, mut step): (Vec<f64>, Vec<f64>) = Default::default();
    let (mut mean, mut deviation) = (0.0, 1.0);
    let mut scores = Vec::with_capacity(values.len());
    for (_, value) in values {
        let known = !window.is_empty();
        scores.push(if known { 1.0 - beyond(((value - mean) / deviation).abs()) } else { 0.0 });
        if window.len() < WINDOW {
            window.push(*value);
        } else {
            step.push(*value);
            if step.len() < STEP {
                continue;
            }
            window.drain(..STEP);
            window.append(&mut step);
        }
        (mean, deviation) = moments(&window);
    }
    scores
}

fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
    (mean, if variance > 0.0 { variance.sqrt() } else { 1e-6 })
}

/// The probability that a standard normal value is above `z` ≥ 0 (Numerical Recipes' erfcc,
/// relative error below 1.2e-7).
fn beyond(z: f64) -> f64 {
    const TERMS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let x = z / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let sum = TERMS.iter().rev().fold(0.0, |sum, term| sum * t + term);
    0.5 * t * (sum - x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::beyond;

    #[test]
    fn the_tables_values() {
        for (z, p) in [(0.0, 0.5), (1.0, 0.158_655_25), (1.96, 0.024_997_9), (3.0, 0.001_349_9)] {
            assert!((beyond(z) - p).abs() < 1e-7, "{z}: {}", beyond(z));
        }
    }
}
