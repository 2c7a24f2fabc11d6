//! How important a request is, as far as its client may say.

use super::Key;
use crate::error::Refusal;
use evenkeel_domain::settings::Tier;
use http::{HeaderMap, HeaderName};

/// Where a client says it.
const HEADER: HeaderName = HeaderName::from_static("x-evenkeel-tier");

/// Takes the client's wish out of the headers: it ends here.
///
/// # Errors
/// When it is no tier.
pub(crate) fn take(headers: &mut HeaderMap) -> Result<Option<Tier>, Refusal> {
    let Some(wanted) = headers.remove(HEADER) else { return Ok(None) };
    let found = Tier::ALL.into_iter().find(|tier| wanted.as_bytes() == tier.label().as_bytes());
    found.map(Some).ok_or_else(|| {
        Refusal::BadRequest("x-evenkeel-tier: a tier is `core` or `best_effort`".into())
    })
}

/// The tier of a request, or `None` for its service's: what its route says, else what its
/// client wishes, as high as its key (without one, the service) allows, else its key's.
pub(crate) fn of(
    route: Option<Tier>,
    wanted: Option<Tier>,
    key: Option<&Key>,
    service: Tier,
) -> Option<Tier> {
    let highest = key.and_then(Key::tier);
    let allowed = |wanted| match highest.unwrap_or(service) {
        Tier::Core => wanted,
        Tier::BestEffort => Tier::BestEffort,
    };
    route.or_else(|| wanted.map(allowed)).or(highest)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, keys};
    use super::*;
    use Tier::{BestEffort, Core};
    use http::HeaderValue;

    fn of_key(tier: Option<Tier>) -> std::sync::Arc<Key> {
        let (mut settings, text) = key("a");
        settings.tier = tier;
        let mut headers = HeaderMap::new();
        headers.insert("api-key", HeaderValue::from_str(&text).unwrap());
        keys(&[settings], &[]).check(&headers, 0).unwrap()
    }

    #[test]
    fn a_client_may_ask_for_less_and_only_its_key_for_more() {
        let (core, best, plain) = (of_key(Some(Core)), of_key(Some(BestEffort)), of_key(None));
        let table = [
            // route, wanted, key, service, what comes of it
            (None, None, None, Core, None),
            (None, Some(BestEffort), None, Core, Some(BestEffort)),
            (None, Some(Core), None, BestEffort, Some(BestEffort)),
            (Some(Core), Some(BestEffort), None, BestEffort, Some(Core)),
            (None, None, Some(&core), BestEffort, Some(Core)),
            (None, Some(Core), Some(&core), BestEffort, Some(Core)),
            (None, Some(BestEffort), Some(&core), Core, Some(BestEffort)),
            (None, None, Some(&best), Core, Some(BestEffort)),
            (None, Some(Core), Some(&best), Core, Some(BestEffort)),
            (None, Some(Core), Some(&plain), BestEffort, Some(BestEffort)),
            (None, None, Some(&plain), Core, None),
        ];
        for (route, wanted, key, service, expected) in table {
            let got = of(route, wanted, key.map(|key| &**key), service);
            assert_eq!(got, expected, "{route:?} {wanted:?} {key:?} {service:?}");
        }
    }

    #[test]
    fn the_wish_ends_here() {
        let mut headers = HeaderMap::new();
        assert_eq!(take(&mut headers), Ok(None));
        headers.insert(HEADER, HeaderValue::from_static("best_effort"));
        assert_eq!(take(&mut headers), Ok(Some(BestEffort)));
        assert!(headers.is_empty());
        headers.insert(HEADER, HeaderValue::from_static("gold"));
        assert!(take(&mut headers).is_err() && headers.is_empty());
    }
}
