//! What a client gets when a service cannot answer: another service's answer, a kept one, a
//! fixed one, in the order of the configuration.
//!
//! ```text
//!   primary ─ too long for the model ─► larger service
//!      │
//!      └ no replica could answer ─► service:a ─► cache (even stale) ─► fixed ─► the error
//! ```
//! An error that is the client's own goes to the client. Who answered is in the answer's
//! `model` and in `x-evenkeel-reason`.

pub(crate) mod errors;

use crate::attempt::guard::RequestGuard;
use crate::error::Refusal;
use evenkeel_domain::Outcome;
use http::{HeaderMap, HeaderName, HeaderValue};

/// How many attempts an answer took.
const ATTEMPTS: HeaderName = HeaderName::from_static("x-evenkeel-attempts");
/// Why it took more than one, or who answered instead.
const REASON: HeaderName = HeaderName::from_static("x-evenkeel-reason");

/// Why a refusal is one that others may mend; `None` for what is the client's own.
pub(crate) fn mendable(refusal: &Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::Unavailable { .. } => Some("no_replica_available"),
        Refusal::NoAgreement { .. } => Some("no_agreement"),
        Refusal::Expired(_) => Some("deadline_exceeded"),
        Refusal::AllFailed { last, .. } | Refusal::NotRepeatable(last) => {
            last.worth_retrying().then_some(last.label())
        }
        _ => None,
    }
}

/// Why a refusal spares replicas: a kept answer, which costs them nothing, is better.
pub(crate) fn sparing(refusal: &Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::Overloaded { .. } => Some("overloaded"),
        Refusal::Degraded(_) => Some("degraded"),
        _ => None,
    }
}

/// Why an answer that is passed on for want of a better one may be replaced.
pub(crate) fn failed(outcome: Option<Outcome>) -> Option<&'static str> {
    outcome.filter(|outcome| outcome.worth_retrying()).map(Outcome::label)
}

/// Tells the client what its answer took, where that is not one plain attempt.
pub(crate) fn annotate(headers: &mut HeaderMap, request: &RequestGuard) {
    if request.attempts() > 1
        && let Some(reason) = request.reason()
    {
        headers.insert(ATTEMPTS, request.attempts().into());
        headers.insert(REASON, HeaderValue::from_static(reason));
    }
}

/// Tells the client who answered instead, and why.
pub(crate) fn annotate_other(
    headers: &mut HeaderMap,
    request: &RequestGuard,
    who: &str,
    why: &str,
) {
    headers.insert(ATTEMPTS, request.attempts().into());
    if let Ok(reason) = HeaderValue::from_str(&format!("fallback={who}; after={why}")) {
        headers.insert(REASON, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::ReplicaFault;
    use std::time::Duration;

    #[test]
    fn only_what_others_can_mend_is_taken_to_them() {
        let service = String::new;
        let fault = Outcome::ReplicaFault(ReplicaFault::ServerError);
        let table = [
            (Refusal::Unavailable { service: service(), why: service() }, true),
            (Refusal::AllFailed { service: service(), attempts: 3, last: fault }, true),
            (Refusal::NoAgreement { service: service(), answered: 2, agree: 2 }, true),
            (Refusal::Expired(Duration::from_secs(1)), true),
            (Refusal::BadRequest("no".into()), false),
            (Refusal::TooLarge(1), false),
            (Refusal::QueryOfDeath(3), false),
            (Refusal::NotRepeatable(Outcome::Cancelled), false),
        ];
        for (refusal, expected) in table {
            assert_eq!(mendable(&refusal).is_some(), expected, "{refusal:?}");
        }
        assert_eq!(failed(Some(Outcome::ClientFault)), None);
        assert_eq!(failed(Some(Outcome::Backpressure)), Some("backpressure"));
    }
}
