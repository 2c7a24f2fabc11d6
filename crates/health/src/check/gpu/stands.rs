//! Events of a GPU, and for how long each speaks against it. Pure.
//!
//! ```text
//!   RESTART_APP ── until what ran there has ended (or 5 minutes, where nothing was seen)
//!   all others ─── for an hour after the last: nothing tells that a GPU was reset
//! ```

use super::xid::{self, Class};
use evenkeel_domain::check::CheckState;
use std::time::{Duration, Instant};

/// For errors of what runs there, when it is not known what that was.
const APP: Duration = Duration::from_secs(300);
/// For errors of the GPU.
const GPU: Duration = Duration::from_secs(3600);
/// Events that are remembered of one GPU: more say nothing more.
const EVENTS: usize = 16;

/// What stands against one GPU.
#[derive(Debug, Default)]
pub(super) struct Stands {
    events: Vec<Event>,
    /// Uncorrected memory errors at the last look.
    uncorrected: Option<u64>,
    /// Events since it was first seen.
    pub(super) count: u64,
}

#[derive(Debug)]
struct Event {
    text: String,
    state: CheckState,
    definite: bool,
    of_app: bool,
    at: Instant,
    /// What ran there then.
    pids: Vec<u32>,
}

impl Stands {
    /// An Xid came.
    pub(super) fn xid(&mut self, code: u64, pids: &[u32], now: Instant) {
        self.count += 1;
        let (what, class) = xid::of(code);
        if class == Class::Ignore {
            return;
        }
        let text = format!("Xid {code}: {what} ({}: {})", class.label(), class.remedy());
        self.add(Event {
            text,
            state: class.state(),
            definite: class.is_definite(),
            of_app: class == Class::RestartApp,
            at: now,
            pids: pids.to_vec(),
        });
    }

    /// So many uncorrected memory errors were counted since the driver was loaded.
    pub(super) fn uncorrected(&mut self, count: u64, now: Instant) {
        let more = self.uncorrected.replace(count).map_or(0, |before| count.saturating_sub(before));
        if more > 0 {
            let text = format!("{more} uncorrected memory errors more; replace it if more come");
            let state = CheckState::Critical;
            self.add(Event { text, state, definite: false, of_app: false, at: now, pids: vec![] });
        }
    }

    fn add(&mut self, event: Event) {
        // The same again only begins its time anew.
        self.events.retain(|known| known.text != event.text);
        if self.events.len() == EVENTS {
            self.events.remove(0);
        }
        self.events.push(event);
    }

    /// What stands now, with what runs there now: how bad, what, and whether it is definite.
    pub(super) fn now(&mut self, pids: &[u32], now: Instant) -> Option<(CheckState, String, bool)> {
        self.events.retain(|event| {
            let age = now.saturating_duration_since(event.at);
            match (event.of_app, event.pids.is_empty()) {
                (true, false) => age < GPU && event.pids.iter().any(|pid| pids.contains(pid)),
                (true, true) => age < APP,
                (false, _) => age < GPU,
            }
        });
        let worst = self.events.iter().map(|event| event.state).max_by_key(|state| state.rank())?;
        let all: Vec<_> = self.events.iter().rev().map(|event| &*event.text).collect();
        Some((worst, all.join("; "), self.events.iter().any(|event| event.definite)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::testing::at;

    #[test]
    fn an_error_of_what_runs_is_over_when_that_has_ended() {
        let mut stands = Stands::default();
        stands.xid(31, &[7, 8], at(0));
        let (state, text, definite) = stands.now(&[8, 9], at(600_000)).unwrap();
        assert!(
            state == CheckState::Critical && definite && text.contains("RESTART_APP"),
            "{text}"
        );
        assert_eq!(stands.now(&[9], at(601_000)), None);
        stands.xid(13, &[], at(0));
        assert!(stands.now(&[9], at(299_000)).is_some());
        assert_eq!(stands.now(&[9], at(300_000)), None);
        assert_eq!(stands.count, 2);
    }

    #[test]
    fn an_error_of_the_gpu_stands_and_what_is_to_be_ignored_does_not() {
        let mut stands = Stands::default();
        stands.xid(63, &[7], at(0));
        assert_eq!(stands.now(&[7], at(1)), None);
        stands.xid(45, &[7], at(1));
        assert!(matches!(stands.now(&[], at(2)), Some((CheckState::Warning, _, false))));
        stands.xid(119, &[7], at(2));
        let (state, text, definite) = stands.now(&[], at(3_599_000)).unwrap();
        assert!(state == CheckState::Critical && definite, "{text}");
        assert!(text.starts_with("Xid 119: GSP RPC timeout (RESET_GPU: stop what runs"), "{text}");
        assert_eq!(stands.now(&[], at(3_600_010)), None);
    }

    #[test]
    fn memory_errors_count_from_the_first_look_and_all_is_bounded() {
        let mut stands = Stands::default();
        stands.uncorrected(5, at(0));
        assert_eq!(stands.now(&[], at(0)), None, "they are from before");
        stands.uncorrected(7, at(1));
        let (state, text, definite) = stands.now(&[], at(1)).unwrap();
        assert!(state == CheckState::Critical && !definite && text.starts_with("2 uncorrected"));
        stands.uncorrected(0, at(2));
        for code in 1000..2000 {
            stands.xid(code, &[], at(3));
        }
        assert_eq!(stands.events.len(), EVENTS);
    }
}
