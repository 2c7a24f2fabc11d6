//! Many verdicts, one state. Pure.

use crate::detector::Verdict;
use evenkeel_domain::Health;

/// What all detectors together say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weight {
    /// Nothing against it.
    Clear,
    /// One signal.
    One(String),
    /// Two independent signals at once.
    Two(String),
    /// One strong by its own statistics.
    Enough(String),
    /// Definite.
    Certain(String),
}

/// Detectors that see the same times: two of them are no two independent signals.
const PACE: [&str; 2] = ["slow", "unusual"];

/// Weighs verdicts, each with the name of its detector.
#[must_use]
pub fn weigh(verdicts: &[(&'static str, Verdict)]) -> Weight {
    let mut suspicions = Vec::new();
    let mut strong = Vec::new();
    for (name, verdict) in verdicts {
        match verdict {
            Verdict::Clear | Verdict::Busy(_) => {}
            Verdict::Definite(text) => return Weight::Certain(format!("{name}: {text}")),
            Verdict::Strong(text) => strong.push(format!("{name}: {text}")),
            Verdict::Suspicion(text) => suspicions.push(format!("{name}: {text}")),
        }
    }
    let (enough, two) = (!strong.is_empty(), suspicions.len() >= 2 && !are_one(verdicts));
    strong.append(&mut suspicions);
    match strong.is_empty() {
        true => Weight::Clear,
        false if enough => Weight::Enough(strong.join("; ")),
        false if two => Weight::Two(strong.join("; ")),
        false => Weight::One(strong.join("; ")),
    }
}

/// Whether all suspicions look at one thing: how long answers take, beside peers.
fn are_one(verdicts: &[(&'static str, Verdict)]) -> bool {
    let mut suspicious = verdicts.iter().filter(|(_, v)| matches!(v, Verdict::Suspicion(_)));
    suspicious.all(|(name, _)| PACE.contains(name))
}

/// What the state machine must know besides the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// State before.
    pub health: Health,
    /// Whether a probe or real traffic has proven this incarnation since it started or was
    /// isolated.
    pub proven: bool,
    /// Whether it had all the time that its first answer may take.
    pub absent: bool,
    /// Whether the time of a statistical isolation is still running.
    pub serving_time: bool,
    /// Whether slow start is over.
    pub ramped: bool,
    /// Whether statistics may isolate one more of this service.
    pub may_isolate: bool,
    /// Whether two signals have stood together for longer than a pause lasts.
    pub two_last: bool,
}

/// The next state, and whether what stands against the replica is definite.
#[must_use]
pub fn next(weight: &Weight, s: Situation) -> (Health, bool) {
    use Health as H;
    match (weight, s.health) {
        // Not up yet: refusals and failed probes are what starting looks like, but not for ever.
        (Weight::Certain(_), H::Starting) if !s.proven && s.absent => (H::Isolated, true),
        (_, H::Starting) if !s.proven => (H::Starting, true),
        (Weight::Certain(_), _) => (H::Isolated, true),
        (Weight::Enough(_), _) if s.may_isolate => (H::Isolated, false),
        (Weight::Two(_), _) if s.may_isolate && s.two_last => (H::Isolated, false),
        (Weight::Enough(_) | Weight::Two(_) | Weight::One(_), H::Isolated) => (H::Isolated, false),
        (Weight::Enough(_) | Weight::Two(_) | Weight::One(_), _) => (H::Suspect, false),
        (Weight::Clear, H::Isolated) if s.serving_time || !s.proven => {
            (H::Isolated, !s.serving_time)
        }
        (Weight::Clear, H::Isolated) => (H::Probation, false),
        // The share of a newcomer grows, too, but nothing speaks against it.
        (Weight::Clear, H::Starting | H::Healthy) => (H::Healthy, false),
        (Weight::Clear, H::Suspect | H::Probation) => {
            if s.ramped {
                (H::Healthy, false)
            } else {
                (H::Probation, false)
            }
        }
        (Weight::Clear, other) => (other, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::Gate;
    use evenkeel_domain::health::ALL_HEALTH;

    fn all_situations() -> Vec<Situation> {
        let mut out = Vec::new();
        for health in ALL_HEALTH {
            for bits in 0..64u8 {
                let bit = |n: u8| bits & (1 << n) != 0;
                out.push(Situation {
                    health,
                    proven: bit(0),
                    serving_time: bit(1),
                    ramped: bit(2),
                    may_isolate: bit(3),
                    two_last: bit(4),
                    absent: bit(5),
                });
            }
        }
        out
    }

    fn weights() -> [Weight; 5] {
        [
            Weight::Clear,
            Weight::One("a".into()),
            Weight::Two("ab".into()),
            Weight::Enough("b".into()),
            Weight::Certain("c".into()),
        ]
    }

    #[test]
    fn one_signal_never_isolates_and_certainty_always_does() {
        for s in all_situations() {
            let (health, _) = next(&Weight::One("x".into()), s);
            assert!(health != Health::Isolated || s.health == Health::Isolated, "{s:?}");
            let (health, definite) = next(&Weight::Certain("x".into()), s);
            assert_eq!(Gate::of(health, definite), Gate::Shut, "{s:?}");
        }
    }

    #[test]
    fn two_signals_isolate_only_when_they_last() {
        for s in all_situations().into_iter().filter(|s| !s.two_last) {
            let (health, _) = next(&Weight::Two("x".into()), s);
            assert!(health != Health::Isolated || s.health == Health::Isolated, "{s:?}");
        }
    }

    #[test]
    fn the_cap_binds_statistics_only() {
        for mut s in all_situations() {
            s.may_isolate = false;
            if s.health == Health::Isolated || (s.health == Health::Starting && !s.proven) {
                continue;
            }
            assert_ne!(next(&Weight::Enough("x".into()), s).0, Health::Isolated, "{s:?}");
            assert_eq!(next(&Weight::Certain("x".into()), s).0, Health::Isolated, "{s:?}");
        }
    }

    #[test]
    fn nothing_opens_the_gate_without_proof() {
        for s in all_situations().into_iter().filter(|s| !s.proven) {
            for weight in weights() {
                let (health, definite) = next(&weight, s);
                let opened = Gate::of(health, definite) == Gate::Open;
                let was = matches!(s.health, Health::Healthy | Health::Probation | Health::Suspect);
                assert!(!opened || was, "{s:?} {weight:?} -> {health:?}");
            }
        }
    }

    #[test]
    fn isolation_ends_in_probation_never_in_full_health() {
        for s in all_situations().into_iter().filter(|s| s.health == Health::Isolated) {
            for weight in weights() {
                assert!(matches!(next(&weight, s).0, Health::Isolated | Health::Probation));
            }
        }
    }

    #[test]
    fn two_suspicions_are_enough_and_name_themselves() {
        let verdicts = [
            ("probe", Verdict::Suspicion("timed out".into())),
            ("exit", Verdict::Clear),
            ("silence", Verdict::Suspicion("still".into())),
        ];
        let Weight::Two(text) = weigh(&verdicts) else { panic!("there are two") };
        assert_eq!(text, "probe: timed out; silence: still");
        assert!(matches!(weigh(&verdicts[..2]), Weight::One(_)));
    }

    #[test]
    fn the_same_times_seen_twice_are_one_signal() {
        let suspicion = |name| (name, Verdict::Suspicion("late".into()));
        let pace = [suspicion("slow"), suspicion("unusual")];
        assert!(matches!(weigh(&pace), Weight::One(_)));
        let more = [suspicion("slow"), suspicion("unusual"), suspicion("probe")];
        assert!(matches!(weigh(&more), Weight::Two(_)));
    }
}
