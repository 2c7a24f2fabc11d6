//! The text of a key, as clients show it.

use evenkeel_domain::settings::KeyHash;
use http::{HeaderMap, header};
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

/// What every key begins with, so that scanners for leaked secrets know one when they see it.
pub const PREFIX: &str = "ek_";
/// Characters of a key at most: the longest name, and 43 that are random.
const LONGEST: usize = 128;

/// The hash under which a key is kept.
#[must_use]
pub fn hash(text: &str) -> KeyHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    KeyHash(hash)
}

/// The key that headers show, wherever clients of one API or another put it.
pub(super) fn shown(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key)
    });
    let plain = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let text = bearer.or_else(|| plain("x-api-key")).or_else(|| plain("api-key"))?.trim();
    (!text.is_empty()).then_some(text)
}

/// The name in `ek_<name>_<secret>`.
pub(super) fn id(text: &str) -> Option<&str> {
    let (id, _) = text.strip_prefix(PREFIX)?.rsplit_once('_')?;
    (text.len() <= LONGEST).then_some(id)
}

/// Whether this is the key of that hash, in the same time whether it is or not.
pub(super) fn matches(text: &str, expected: KeyHash) -> bool {
    // What is longer than any key has no id, and so matches nothing anyway.
    let text = text.get(..LONGEST).unwrap_or(text);
    hash(text).0.ct_eq(&expected.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_hash_is_what_sha256sum_says() {
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash("abc").to_string(), expected);
        assert!(matches("abc", hash("abc")) && !matches("abd", hash("abc")));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = id(&text);
            let _ = matches(&text, KeyHash([0; 32]));
        }

        #[test]
        fn any_name_is_found_again(name in "[A-Za-z0-9_.-]{1,64}", secret in "[A-Za-z0-9]{43}") {
            let text = format!("{PREFIX}{name}_{secret}");
            prop_assert_eq!(id(&text), Some(&*name));
        }
    }
}
