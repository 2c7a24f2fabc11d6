//! Sealing content: AES-256-GCM, each object under a key of its own.
//!
//! An object (a file, a batch) has a random salt; HKDF-SHA-256 makes its key of the master
//! key and the salt. So random 96-bit nonces are safe: no key ever seals more than the
//! pieces of one object. What a piece belongs to (object, place in it) is authenticated with
//! it, so pieces cannot be swapped within a file or between files.

use crate::error::Fault;
use crate::key::Key;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;

/// Bytes of a salt.
const SALT: usize = 32;
/// Sealed once per store, to know the key again.
const KNOWN: &[u8] = b"evenkeel";

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        Fault::Sql(sqlx::Error::Io(std::io::Error::other("the system gives no random bytes")))
    })?;
    Ok(bytes)
}

/// An id that nobody else makes: 96 random bits behind a prefix.
pub(crate) fn id(prefix: &str) -> Result<String, Fault> {
    let mut id = prefix.to_owned();
    for byte in random::<12>()? {
        id.push_str(&format!("{byte:02x}"));
    }
    Ok(id)
}

/// Seals with one master key.
pub(crate) struct Sealer(Key);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    pub(crate) fn new(key: Key) -> Self {
        Self(key)
    }

    pub(crate) fn salt() -> Result<Vec<u8>, Fault> {
        Ok(random::<SALT>()?.to_vec())
    }

    /// What seals one object.
    pub(crate) fn object(&self, id: &str, salt: &[u8]) -> ObjectSeal {
        let secret = Salt::new(HKDF_SHA256, salt).extract(self.0.bytes());
        let info = [b"evenkeel content".as_slice()];
        let made = secret.expand(&info, &AES_256_GCM).map(UnboundKey::from);
        // Fails for keys longer than 255 hashes only; this one is as long as one.
        let key = made.ok().map(LessSafeKey::new);
        ObjectSeal { id: id.to_owned(), key }
    }

    /// What is kept to know the key again.
    pub(crate) fn check_value(&self, salt: &[u8]) -> Result<Vec<u8>, Fault> {
        self.object("key", salt).seal(0, KNOWN.to_vec())
    }

    /// Whether this is the key that made `value`.
    pub(crate) fn checks(&self, salt: &[u8], value: Vec<u8>) -> bool {
        self.object("key", salt).open(0, value).is_ok_and(|known| known == KNOWN)
    }
}

/// Seals the pieces of one object.
pub(crate) struct ObjectSeal {
    id: String,
    key: Option<LessSafeKey>,
}

impl ObjectSeal {
    fn about(&self, index: i64) -> Aad<Vec<u8>> {
        let mut about = self.id.clone().into_bytes();
        about.push(0);
        about.extend_from_slice(&index.to_be_bytes());
        Aad::from(about)
    }

    /// Nonce, sealed content, tag.
    pub(crate) fn seal(&self, index: i64, mut content: Vec<u8>) -> Result<Vec<u8>, Fault> {
        let nonce = random::<NONCE_LEN>()?;
        let key = self.key.as_ref().ok_or_else(|| broken(&self.id, index))?;
        let tag = key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            self.about(index),
            &mut content,
        );
        let tag = tag.map_err(|_| broken(&self.id, index))?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + content.len() + tag.as_ref().len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&content);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// The content, if nothing of it was changed.
    pub(crate) fn open(&self, index: i64, mut sealed: Vec<u8>) -> Result<Vec<u8>, Fault> {
        let fail = || broken(&self.id, index);
        let (nonce, _) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(fail)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let key = self.key.as_ref().ok_or_else(fail)?;
        let opened = key.open_within(nonce, self.about(index), &mut sealed, NONCE_LEN..);
        let length = opened.map_err(|_| fail())?.len();
        sealed.truncate(length);
        Ok(sealed)
    }
}

fn broken(id: &str, index: i64) -> Fault {
    Fault::corrupt(format!(
        "piece {index} of {id} does not open: it was changed outside Evenkeel, or the disk \
         returned something else than was written; restore the store from a backup"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: &str) -> Sealer {
        Sealer::new(Key::parse(&byte.repeat(32)).unwrap())
    }

    #[test]
    fn content_opens_where_it_was_sealed_and_nowhere_else() {
        let salt = Sealer::salt().unwrap();
        let object = sealer("01").object("file-1", &salt);
        let content = b"attack at dawn".to_vec();
        let sealed = object.seal(3, content.clone()).unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"attack"), "it cannot be read");
        assert_eq!(object.open(3, sealed.clone()).unwrap(), content);
        assert_ne!(sealed, object.seal(3, content).unwrap(), "never the same twice");
        assert!(object.open(4, sealed.clone()).is_err(), "another place");
        let others = [
            sealer("01").object("file-2", &salt),
            sealer("02").object("file-1", &salt),
            sealer("01").object("file-1", &Sealer::salt().unwrap()),
        ];
        for other in others {
            assert!(other.open(3, sealed.clone()).is_err());
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(object.open(3, changed).is_err(), "byte {at}");
            assert!(object.open(3, sealed[..at].to_vec()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_key_is_known_again() {
        let salt = Sealer::salt().unwrap();
        let value = sealer("01").check_value(&salt).unwrap();
        assert!(sealer("01").checks(&salt, value.clone()));
        assert!(!sealer("02").checks(&salt, value));
    }
}
