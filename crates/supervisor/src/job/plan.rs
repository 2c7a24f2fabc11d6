//! What follows a job's failure. Pure: what happened and `now` in, a decision out.

use evenkeel_domain::job::{JobFailure, JobSettings};
use std::time::Duration;

/// The longest wait between two starts.
const LONGEST: Duration = Duration::from_secs(60);

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Start it again after this.
    Again(Duration),
    /// Leave it; why.
    GiveUp(String),
}

/// Decides after a failure, which is the last of `failures`. Those that a person has
/// forgiven are not among them.
#[must_use]
pub fn after(settings: &JobSettings, failures: &[JobFailure], now_ms: u64) -> Next {
    let Some(last) = failures.last() else { return Next::Again(Duration::ZERO) };
    let row = failures.iter().rev().take_while(|f| f.checkpoint == last.checkpoint).count();
    if row >= settings.same_step as usize {
        let place = match last.checkpoint.as_str() {
            "" => "before its first checkpoint".to_owned(),
            name => format!("after checkpoint {name}"),
        };
        return Next::GiveUp(format!("failed {row} times in a row {place}: {}", last.how));
    }
    let within = millis(settings.within);
    let recent = failures.iter().filter(|f| now_ms.saturating_sub(f.at_unix_ms) <= within).count();
    if recent > settings.max_restarts as usize {
        let within = humantime::format_duration(settings.within);
        return Next::GiveUp(format!("failed {recent} times within {within}: {}", last.how));
    }
    // The first start after progress is immediate: most failures are single ones.
    let doublings = u32::try_from(row.saturating_sub(2)).unwrap_or(u32::MAX).min(16);
    Next::Again(match row {
        0 | 1 => Duration::ZERO,
        _ => settings.backoff.saturating_mul(1 << doublings).min(LONGEST),
    })
}

/// Work that is lost by an end at `now_ms`: all since the last good checkpoint, or since
/// this start where that is later.
#[must_use]
pub fn lost(started_ms: u64, checkpoint_ms: Option<u64>, now_ms: u64) -> u64 {
    now_ms.saturating_sub(started_ms.max(checkpoint_ms.unwrap_or(0)))
}

/// Whether it hangs: it last moved at `moved_ms`.
#[must_use]
pub fn hangs(settings: &JobSettings, moved_ms: u64, now_ms: u64) -> bool {
    settings.hang_after.is_some_and(|after| now_ms.saturating_sub(moved_ms) > millis(after))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> JobSettings {
        let text = r#"{"name":"train","command":["x"],"max_restarts":4,"within":"1h"}"#;
        JobSettings {
            hang_after: Some(Duration::from_secs(10)),
            ..serde_json::from_str(text).unwrap()
        }
    }

    fn failures(all: &[(u64, &str)]) -> Vec<JobFailure> {
        let one = |(at, checkpoint): &(u64, &str)| JobFailure {
            at_unix_ms: *at,
            how: "exited with code 1".into(),
            checkpoint: (*checkpoint).into(),
            lost_ms: 0,
        };
        all.iter().map(one).collect()
    }

    fn decided(all: &[(u64, &str)]) -> Next {
        after(&settings(), &failures(all), all.last().map_or(0, |last| last.0))
    }

    #[test]
    fn it_goes_on_while_it_gets_on() {
        assert_eq!(decided(&[(0, "")]), Next::Again(Duration::ZERO));
        assert_eq!(decided(&[(0, ""), (5, "")]), Next::Again(Duration::from_secs(1)));
        assert_eq!(decided(&[(0, ""), (5, ""), (9, "a")]), Next::Again(Duration::ZERO));
        let Next::GiveUp(why) = decided(&[(0, "a"), (5, "a"), (9, "a")]) else { panic!() };
        assert!(why.contains("3 times in a row after checkpoint a: exited"), "{why}");
    }

    #[test]
    fn too_often_is_too_often_wherever() {
        let all = [(0, "a"), (1, "b"), (2, "c"), (3, "d"), (4, "e")];
        let Next::GiveUp(why) = decided(&all) else { panic!() };
        assert!(why.contains("5 times within 1h"), "{why}");
        let mut late = all;
        late[4].0 = 3_600_001;
        assert_eq!(decided(&late), Next::Again(Duration::ZERO), "the first is long ago");
    }

    #[test]
    fn what_is_lost_and_what_hangs() {
        assert_eq!(lost(100, None, 150), 50);
        assert_eq!(lost(100, Some(140), 150), 10);
        assert_eq!(lost(100, Some(90), 150), 50, "that was lost before");
        assert!(!hangs(&settings(), 0, 10_000) && hangs(&settings(), 0, 10_001));
        assert!(!hangs(&JobSettings { hang_after: None, ..settings() }, 0, u64::MAX));
    }
}
