//! Requests of one size fail here, and nowhere else: long prompts on a device that has lost a
//! part of its memory, with short ones answered as ever in between.

use super::{Detector, Verdict};
use evenkeel_domain::conduct::SIZES;
use evenkeel_domain::{Signal, SignalKind};
use std::time::{Duration, Instant};

/// Faults in a row that are a suspicion, and those that are strong.
const SUSPECT: u64 = 3;
const STRONG: u64 = 5;
/// Good attempts of its peers without which nothing is known of the size …
const PEERS: u64 = 3;
/// … of which one in so many may have failed.
const MOSTLY: u64 = 4;
/// How long a comparison stands.
const STANDS: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(super) struct Size {
    failing: [Option<(Instant, u64)>; SIZES],
}

impl Detector for Size {
    fn name(&self) -> &'static str {
        "size"
    }

    fn observe(&mut self, signal: &Signal) {
        let SignalKind::Size { class, row, peers } = signal.kind else { return };
        let only_here = peers.0 >= PEERS && peers.0 >= peers.1 * MOSTLY;
        if let Some(failing) = self.failing.get_mut(class) {
            *failing = (row >= SUSPECT && only_here).then_some((signal.at, row));
        }
    }

    fn verdict(&self, now: Instant) -> Verdict {
        let stands = |at: Instant| now.saturating_duration_since(at) <= STANDS;
        let failing = self.failing.iter().enumerate();
        let worst = failing
            .filter_map(|(class, f)| f.filter(|(at, _)| stands(*at)).map(|(_, row)| (row, class)))
            .max();
        let Some((row, class)) = worst else { return Verdict::Clear };
        let text = format!(
            "{row} requests in a row of size class {class} failed here, and hardly any with its \
             peers"
        );
        if row >= STRONG { Verdict::Strong(text) } else { Verdict::Suspicion(text) }
    }

    fn reset(&mut self, _: Instant) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, signal};
    use super::*;

    fn verdict(row: u64, peers: (u64, u64)) -> Verdict {
        let mut size = Size::default();
        size.observe(&signal(0, SignalKind::Size { class: 2, row, peers }));
        size.verdict(at(1))
    }

    #[test]
    fn what_fails_nowhere_else_speaks_against_it() {
        assert!(matches!(verdict(3, (9, 0)), Verdict::Suspicion(_)));
        assert!(matches!(verdict(5, (9, 1)), Verdict::Strong(_)));
        assert_eq!(verdict(2, (9, 0)), Verdict::Clear);
    }

    #[test]
    fn what_fails_everywhere_is_the_requests_own_doing() {
        assert_eq!(verdict(9, (0, 9)), Verdict::Clear);
        assert_eq!(verdict(9, (3, 2)), Verdict::Clear);
        assert_eq!(verdict(9, (0, 0)), Verdict::Clear);
    }
}
