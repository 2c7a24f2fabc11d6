//! For whose account a request is: what keys, quotas, files and batches go by.

use crate::handle::ClientInfo;
use evenkeel_domain::durable::OWNER_HEADER;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Who owns what is asked for without a key.
pub(crate) const LOCAL: HeaderValue = HeaderValue::from_static("local");
/// See [`OWNER_HEADER`].
pub(crate) const OWNER: HeaderName = HeaderName::from_static(OWNER_HEADER);

/// The owner of a request. Takes the header away in which only this process may name one:
/// no client's word for it gets further than here.
pub(crate) fn owner_of(client: &ClientInfo, headers: &mut HeaderMap) -> HeaderValue {
    let named = headers.remove(&OWNER);
    named.filter(|_| client.internal).unwrap_or(LOCAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_process_may_name_an_owner() {
        let named = || {
            let mut headers = HeaderMap::new();
            headers.append(OWNER, HeaderValue::from_static("a"));
            headers.append(OWNER, HeaderValue::from_static("b"));
            headers
        };
        let client = ClientInfo::new("127.0.0.1:9".parse().unwrap(), false);
        let mut headers = named();
        assert_eq!(owner_of(&client, &mut headers), "local");
        assert!(headers.is_empty());
        let mut headers = named();
        assert_eq!(owner_of(&ClientInfo::internal(), &mut headers), "a");
        assert!(headers.is_empty());
    }
}
