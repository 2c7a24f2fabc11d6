//! Scores detections as the Numenta Anomaly Benchmark does (Lavin and Ahmad, "Evaluating
//! Real-Time Anomaly Detection Algorithms", 2015): each window of an anomaly is worth the more
//! the earlier in it the first detection comes, and a detection outside of windows costs the
//! less the sooner it comes after one.

/// What the kinds of detection are worth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    pub(crate) hit: f64,
    pub(crate) false_alarm: f64,
    pub(crate) miss: f64,
}

/// The benchmark's three: standard, few false alarms, few misses.
pub(crate) const PROFILES: [Profile; 3] = [
    Profile { hit: 1.0, false_alarm: 0.11, miss: 1.0 },
    Profile { hit: 1.0, false_alarm: 0.22, miss: 1.0 },
    Profile { hit: 1.0, false_alarm: 0.11, miss: 2.0 },
];

/// A detector's scores for one series, and where its anomalies are: first and last point.
pub(crate) struct Scored {
    pub(crate) scores: Vec<f64>,
    pub(crate) windows: Vec<(usize, usize)>,
}

/// One point that counts.
struct Point {
    score: f64,
    window: Option<usize>,
    worth: f64,
}

/// Share of a series at its beginning that is not counted, and the most points that it is.
const PROBATION: (f64, usize) = (0.15, 750);

fn sigmoid(at: f64) -> f64 {
    if at > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * at).exp()) - 1.0 }
}

fn points(series: &Scored, profile: &Profile) -> Vec<Point> {
    let count = series.scores.len();
    let probation = ((PROBATION.0 * count as f64) as usize).min(PROBATION.1);
    let mut before: Option<(usize, usize)> = None;
    let mut points = Vec::with_capacity(count);
    for (at, score) in series.scores.iter().copied().enumerate() {
        let window = series.windows.iter().position(|(first, last)| (*first..=*last).contains(&at));
        let worth = match (window, before) {
            (Some(number), _) => {
                let (first, last) = series.windows[number];
                let width = (last - first + 1) as f64;
                before = Some((first, last));
                profile.hit * sigmoid(-((last - at + 1) as f64) / width) / sigmoid(-1.0)
            }
            (None, None) => -profile.false_alarm,
            (None, Some((first, last))) => {
                profile.false_alarm * sigmoid((at - last) as f64 / (last - first) as f64)
            }
        };
        if at >= probation {
            points.push(Point { score, window, worth });
        }
    }
    points
}

/// What one series is worth at a threshold.
fn at_threshold(series: &Scored, points: &[Point], profile: &Profile, threshold: f64) -> f64 {
    let mut windows = vec![-profile.miss; series.windows.len()];
    let mut alarms = 0.0;
    for point in points.iter().filter(|point| point.score >= threshold) {
        match point.window {
            Some(number) => windows[number] = windows[number].max(point.worth),
            None => alarms += point.worth,
        }
    }
    windows.iter().sum::<f64>() + alarms
}

/// The score of a detector over all series, at the one threshold that is best for it: 0 for
/// one that says nothing, 100 for a perfect one; and that threshold.
pub(crate) fn score(all: &[Scored], profile: &Profile) -> (f64, f64) {
    let points: Vec<_> = all.iter().map(|series| points(series, profile)).collect();
    let worth = |threshold| -> f64 {
        let each = all.iter().zip(&points);
        each.map(|(series, points)| at_threshold(series, points, profile, threshold)).sum()
    };
    let mut thresholds: Vec<f64> = points.iter().flatten().map(|point| point.score).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    // Every one of the highest, and a sample of those that would alarm all the time.
    let (high, low) = thresholds.split_at(thresholds.len().min(3000));
    let sample = low.iter().step_by((low.len() / 1000).max(1));
    let tried = high.iter().chain(sample).copied().filter(|t| *t > 0.0);
    let best = tried
        .map(|threshold| (worth(threshold), threshold))
        .fold((worth(f64::INFINITY), f64::INFINITY), |a, b| if b.0 > a.0 { b } else { a });
    let windows: f64 = all.iter().map(|series| series.windows.len() as f64).sum();
    let (null, perfect) = (-profile.miss * windows, profile.hit * windows);
    (100.0 * (best.0 - null) / (perfect - null), best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: Profile = PROFILES[0];

    /// A hundred points with an anomaly from 50 to 59, and detections at these.
    fn worth(detected: &[usize], profile: &Profile) -> f64 {
        let mut scores = vec![0.0; 100];
        detected.iter().for_each(|at| scores[*at] = 1.0);
        let series = Scored { scores, windows: vec![(50, 59)] };
        at_threshold(&series, &points(&series, profile), profile, 0.5)
    }

    fn is(value: f64, by_hand: f64) {
        assert!((value - by_hand).abs() < 5e-6, "{value} and not {by_hand}");
    }

    #[test]
    fn windows_computed_by_hand() {
        is(worth(&[], &STANDARD), -1.0);
        // At its first point: all of it. At its last: 2/(1+e^−0.5)−1 = 0.244919 of 0.986614.
        is(worth(&[50], &STANDARD), 1.0);
        is(worth(&[59], &STANDARD), 0.248242);
        is(worth(&[55], &STANDARD), 0.859793);
        // The first one counts, the others cost nothing.
        is(worth(&[55, 50, 59], &STANDARD), 1.0);
        // Before any anomaly a false alarm costs its weight, right after one less, long after
        // one all again: 2/(1+e^(5/9))−1 = −0.270848.
        is(worth(&[30], &STANDARD), -1.11);
        is(worth(&[50, 60], &STANDARD), 1.0 - 0.11 * 0.270848);
        is(worth(&[50, 95], &STANDARD), 1.0 - 0.11);
        is(worth(&[50, 30, 31], &PROFILES[1]), 1.0 - 0.44);
        is(worth(&[], &PROFILES[2]), -2.0);
        // The first 15 % are for learning.
        is(worth(&[14, 50], &STANDARD), 1.0);
        is(worth(&[15, 50], &STANDARD), 0.89);
    }

    #[test]
    fn silence_is_worth_nothing_and_perfection_a_hundred() {
        let of = |scores: Vec<f64>| vec![Scored { scores, windows: vec![(50, 59)] }];
        is(score(&of(vec![0.0; 100]), &STANDARD).0, 0.0);
        let mut right = vec![0.0; 100];
        right[50] = 0.7;
        right[30] = 0.6;
        assert_eq!(score(&of(right), &STANDARD), (100.0, 0.7));
    }
}
