//! How a client tries again, as OpenAI's libraries do: after what the server asks for, else
//! after a back-off that doubles.

use crate::load::{Flaw, Outcome};
use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};
use std::time::Duration;

/// First and longest back-off where the server names none.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));
/// A server that asks for more is not heard.
const ASKED_MAX: Duration = Duration::from_secs(60);

/// What a refusal says of trying again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Again {
    /// It was refused for too much load: 429 or 503.
    pub refused: bool,
    /// The server says that it makes no sense.
    pub(crate) no_use: bool,
    /// When it says to come again.
    pub(crate) after: Option<Duration>,
}

impl Again {
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let seconds = text(RETRY_AFTER.as_str()).and_then(|text| text.trim().parse::<f64>().ok());
        let sane = seconds.filter(|s| s.is_finite() && *s >= 0.0);
        Self {
            refused: matches!(status.as_u16(), 429 | 503),
            no_use: text("x-should-retry") == Some("false"),
            after: sane.map(|s| Duration::from_secs_f64(s.min(ASKED_MAX.as_secs_f64()))),
        }
    }
}

/// How long to wait before try `number` (from 1); `None` when it makes no sense.
pub(crate) fn pause(flaw: &Flaw, number: u32, rng: &mut fastrand::Rng) -> Option<Duration> {
    let worth = match flaw.outcome {
        Outcome::Http5xx | Outcome::Refused | Outcome::Reset | Outcome::Timeout => true,
        Outcome::Http4xx => flaw.again.refused,
        _ => false,
    };
    if !worth || flaw.again.no_use {
        return None;
    }
    let doubled = BACKOFF.0.saturating_mul(1 << number.saturating_sub(1).min(10)).min(BACKOFF.1);
    // A quarter less at most, so that clients do not come together again.
    Some(flaw.again.after.unwrap_or_else(|| doubled.mul_f64(1.0 - rng.f64() / 4.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::rng;
    use http::HeaderValue;

    fn flaw(status: u16, headers: &[(&'static str, &'static str)]) -> Flaw {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        Flaw::status(StatusCode::from_u16(status).unwrap(), &map, b"")
    }

    #[test]
    fn the_server_is_heard_and_faults_of_the_client_are_final() {
        let mut rng = rng::seeded(1);
        let mut after = |flaw: &Flaw, number| pause(flaw, number, &mut rng);
        let asked = flaw(503, &[("retry-after", "2")]);
        assert!(asked.again.refused);
        assert_eq!(after(&asked, 1), Some(Duration::from_secs(2)));
        assert_eq!(after(&flaw(429, &[("retry-after", "1e9")]), 1), Some(ASKED_MAX));
        assert_eq!(after(&flaw(502, &[("x-should-retry", "false")]), 1), None);
        assert_eq!(after(&flaw(400, &[]), 1), None);
        let first = after(&flaw(500, &[]), 1).unwrap();
        let third = after(&flaw(500, &[]), 3).unwrap();
        assert!(first <= BACKOFF.0 && first >= BACKOFF.0.mul_f64(0.75), "{first:?}");
        assert!(third <= 4 * BACKOFF.0 && third >= (4 * BACKOFF.0).mul_f64(0.75), "{third:?}");
        assert!(after(&flaw(500, &[]), 30).unwrap() <= BACKOFF.1);
    }
}
