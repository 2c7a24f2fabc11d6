//! Answers that are whole, in time, and wrong: a broken memory or device says nothing of
//! itself.
//!
//! One deviation from a quorum may be the rounding of another batch; several within the
//! window are strong. A known question answered wrongly is a suspicion, wrongly twice
//! running strong (definite where the question is required), and stays so until that question is
//! answered rightly: that a liar was left alone for a while does not make it honest, and a model
//! that says the same of everything knows some of the answers.

use super::{Detector, Verdict};
use evenkeel_domain::answers::Quorum;
use evenkeel_domain::{Signal, SignalKind};
use std::collections::{BTreeMap, VecDeque};
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
    /// Known questions whose last answer was wrong. There are as many as are configured.
    wrong: BTreeMap<usize, Wrong>,
}

/// A known question that is answered wrongly.
#[derive(Debug)]
struct Wrong {
    /// How often in a row.
    row: u32,
    required: bool,
    text: Arc<str>,
}

impl Lying {
    pub(super) fn new(quorum: Option<&Quorum>) -> Self {
        Self {
            deviated: VecDeque::new(),
            how: None,
            strong: quorum.map_or(KEPT, |q| (q.isolate_after as usize).clamp(1, KEPT)),
            window: quorum.map_or(Duration::ZERO, |q| q.window),
            wrong: BTreeMap::new(),
        }
    }

    fn golden(&self) -> Verdict {
        let worst = |wrong: &&Wrong| (wrong.row >= GOLDEN_STRONG, wrong.required, wrong.row);
        let Some(wrong) = self.wrong.values().max_by_key(worst) else { return Verdict::Clear };
        let times = if wrong.row == 1 { "once" } else { "time after time" };
        let text = format!("a known question answered wrongly {times}: {}", wrong.text);
        match wrong.row >= GOLDEN_STRONG {
            true if wrong.required => Verdict::Definite(text),
            true => Verdict::Strong(text),
            false => Verdict::Suspicion(text),
        }
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
            SignalKind::Golden { right: true, question, .. } => {
                self.wrong.remove(question);
            }
            SignalKind::Golden { right: false, question, required, text } => {
                let row = self.wrong.get(question).map_or(0, |wrong| wrong.row).saturating_add(1);
                let wrong = Wrong { row, required: *required, text: text.clone() };
                self.wrong.insert(*question, wrong);
            }
            _ => {}
        }
    }

    fn verdict(&self, now: Instant) -> Verdict {
        if let wrong @ (Verdict::Strong(_) | Verdict::Definite(_)) = self.golden() {
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
        of(0, right, false)
    }

    fn of(question: usize, right: bool, required: bool) -> SignalKind {
        SignalKind::Golden { question, right, required, text: "expected 4, got 5".into() }
    }

    #[test]
    fn who_knows_one_of_two_answers_lies_all_the_same() {
        let mut lying = Lying::new(None);
        for ms in 0..4 {
            lying.observe(&signal(ms, of((ms % 2) as usize, ms % 2 == 0, false)));
        }
        assert!(matches!(lying.verdict(at(4)), Verdict::Strong(_)));
    }

    #[test]
    fn a_required_answer_is_definite_at_the_second_time() {
        let mut lying = Lying::new(None);
        lying.observe(&signal(0, of(1, false, true)));
        assert!(matches!(lying.verdict(at(1)), Verdict::Suspicion(_)));
        lying.observe(&signal(1, of(1, false, true)));
        assert!(matches!(lying.verdict(at(2)), Verdict::Definite(_)));
        lying.observe(&signal(2, of(1, true, true)));
        assert_eq!(lying.verdict(at(3)), Verdict::Clear);
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
