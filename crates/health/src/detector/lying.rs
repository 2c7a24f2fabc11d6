//! Answers that are whole, in time, and wrong: a broken memory or device says nothing of
//! itself.
//!
//! One deviation from a quorum may be the rounding of another batch; several within the
//! window are strong. A known question answered wrongly is a suspicion, wrongly twice
//! running strong, and stays so until it is answered rightly: that a liar was left alone for
//! a while does not make it honest.

use super::{Detector, Verdict};
use evenkeel_domain::answers::Quorum;
use evenkeel_domain::{Signal, SignalKind};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Wrong answers to known questions in a row that are strong.
const GOLDEN_STRONG: u32 = 2;
/// Deviations kept at most: no threshold may be above.
const KEPT: usize = 256;

#[derive(Debug)]
pub(super) struct Lying {
    /// When it deviated.
    deviated: VecDeque<Instant>,
    how: Option<Arc<str>>,
    strong: usize,
    window: Duration,
    /// Known questions answered wrongly in a row.
    wrong: u32,
    wrong_text: Option<Arc<str>>,
}

impl Lying {
    pub(super) fn new(quorum: Option<&Quorum>) -> Self {
        Self {
            deviated: VecDeque::new(),
            how: None,
            strong: quorum.map_or(KEPT, |q| (q.isolate_after as usize).clamp(1, KEPT)),
            window: quorum.map_or(Duration::ZERO, |q| q.window),
            wrong: 0,
            wrong_text: None,
        }
    }

    fn golden(&self) -> Verdict {
        let Some(text) = self.wrong_text.as_ref().filter(|_| self.wrong > 0) else {
            return Verdict::Clear;
        };
        let text = format!("{} known questions in a row answered wrongly: {text}", self.wrong);
        if self.wrong >= GOLDEN_STRONG { Verdict::Strong(text) } else { Verdict::Suspicion(text) }
    }
}

impl Detector for Lying {
    fn name(&self) -> &'static str {
        "lying"
    }

    fn observe(&mut self, signal: &Signal) {
        match &signal.kind {
            SignalKind::Deviated(how) => {
                if self.deviated.len() == KEPT {
                    self.deviated.pop_front();
                }
                self.deviated.push_back(signal.at);
                self.how = Some(how.clone());
            }
            SignalKind::Golden { right: true, .. } => (self.wrong, self.wrong_text) = (0, None),
            SignalKind::Golden { right: false, text } => {
                self.wrong = self.wrong.saturating_add(1);
                self.wrong_text = Some(text.clone());
            }
            _ => {}
        }
    }

    fn verdict(&self, now: Instant) -> Verdict {
        if let wrong @ Verdict::Strong(_) = self.golden() {
            return wrong;
        }
        let inside = |at: &&Instant| now.saturating_duration_since(**at) <= self.window;
        let recent = self.deviated.iter().filter(inside).count();
        if let Some(how) = self.how.as_ref().filter(|_| recent >= self.strong) {
            return Verdict::Strong(format!(
                "{recent} answers in {:?} deviated from what others agreed on; the last one: {how}",
                self.window
            ));
        }
        // Fewer are noted, not acted on: a quorum already keeps them from clients.
        self.golden()
    }

    /// After an isolation one more deviation is enough; a known question still open stays so.
    fn reset(&mut self, now: Instant) {
        self.deviated.clear();
        let before = self.strong - 1;
        if self.how.is_some() {
            self.deviated.extend(std::iter::repeat_n(now, before.min(KEPT)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{GOOD, PROBE_OK, at, signal};
    use super::*;

    fn deviated() -> SignalKind {
        SignalKind::Deviated("said 5".into())
    }

    fn golden(right: bool) -> SignalKind {
        SignalKind::Golden { right, text: "expected 4, got 5".into() }
    }

    #[test]
    fn deviations_add_up_and_fade() {
        let mut lying = Lying::new(Some(&Quorum::new(3, 2)));
        for ms in [0, 1000] {
            lying.observe(&signal(ms, deviated()));
            lying.observe(&signal(ms + 1, GOOD));
            assert_eq!(lying.verdict(at(ms + 2)), Verdict::Clear);
        }
        lying.observe(&signal(2000, deviated()));
        assert!(matches!(lying.verdict(at(2000)), Verdict::Strong(t) if t.contains("said 5")));
        assert_eq!(lying.verdict(at(601_500)), Verdict::Clear);
    }

    #[test]
    fn who_lied_before_is_isolated_by_the_next_deviation() {
        let mut lying = Lying::new(Some(&Quorum::new(3, 2)));
        (0..3).for_each(|ms| lying.observe(&signal(ms, deviated())));
        lying.reset(at(30_000));
        assert_eq!(lying.verdict(at(30_000)), Verdict::Clear);
        lying.observe(&signal(31_000, deviated()));
        assert!(matches!(lying.verdict(at(31_000)), Verdict::Strong(_)));
    }

    #[test]
    fn a_wrong_answer_to_a_known_question_stands_until_a_right_one() {
        let mut lying = Lying::new(None);
        lying.observe(&signal(0, golden(false)));
        assert!(matches!(lying.verdict(at(1)), Verdict::Suspicion(_)));
        lying.observe(&signal(10, golden(false)));
        lying.observe(&signal(11, PROBE_OK));
        lying.observe(&signal(12, GOOD));
        lying.reset(at(40_000));
        assert!(matches!(lying.verdict(at(40_000)), Verdict::Strong(_)));
        lying.observe(&signal(40_001, golden(true)));
        assert_eq!(lying.verdict(at(40_001)), Verdict::Clear);
    }
}
