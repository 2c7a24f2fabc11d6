//! The key that seals, and where it comes from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};
use zeroize::Zeroizing;

/// Bytes of a key file that are read: more than any spelling of a key.
const LONGEST: u64 = 1024;

/// 32 bytes. Overwritten when dropped, never shown.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

/// Why there is no key. Says what helps, never what was read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("key file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The variable is not set.
    #[error("the environment variable {0}, which holds the key, is not set")]
    Env(String),
    /// What was read is not a key.
    #[error("{0} holds no key: write 32 random bytes as 64 hex digits or as base64")]
    Spelling(String),
}

impl Key {
    /// The key in a file, spelt as [`Key::parse`] says.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let fail = |source| KeyError::File { path: path.to_owned(), source };
        let mut text = Zeroizing::new(String::with_capacity(256));
        let file = fs::File::open(path).map_err(fail)?;
        warn_if_shared(path, &file);
        file.take(LONGEST).read_to_string(&mut text).map_err(fail)?;
        Self::parse(&text).ok_or_else(|| KeyError::Spelling(path.display().to_string()))
    }

    /// The key in an environment variable.
    ///
    /// # Errors
    /// When it is not set or holds something else.
    pub fn from_env(name: &str) -> Result<Self, KeyError> {
        let text = std::env::var(name).map(Zeroizing::new);
        let text = text.map_err(|_| KeyError::Env(name.to_owned()))?;
        Self::parse(&text).ok_or_else(|| KeyError::Spelling(name.to_owned()))
    }

    /// A key spelt as 64 hex digits or as base64, with white space around it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = Zeroizing::new(match text.len() {
            64 => unhex(text)?,
            43 | 44 => STANDARD.decode(&*Zeroizing::new(format!("{text:=<44}"))).ok()?,
            _ => return None,
        });
        let bytes: [u8; 32] = bytes.as_slice().try_into().ok()?;
        Some(Self(Zeroizing::new(bytes)))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|two| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(two[0])? * 16 + digit(two[1])?).ok()
        })
        .collect()
}

#[cfg(unix)]
fn warn_if_shared(path: &Path, file: &fs::File) {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata().map(|about| about.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o004 != 0) {
        tracing::warn!(path = %path.display(), "every user of this machine can read the key file");
    }
}

#[cfg(not(unix))]
fn warn_if_shared(_: &Path, _: &fs::File) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_give_the_same_key() {
        let hex = Key::parse(&format!(" {}\n", "0f".repeat(32))).unwrap();
        let base64 = Key::parse(&STANDARD.encode([0x0f; 32])).unwrap();
        assert_eq!((hex.bytes(), base64.bytes()), (&[0x0f; 32], &[0x0f; 32]));
        let unpadded = STANDARD.encode([0x0f; 32]).trim_end_matches('=').to_owned();
        assert_eq!(Key::parse(&unpadded).unwrap().bytes(), &[0x0f; 32]);
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        for text in ["", "secret", &"0g".repeat(32), &"0".repeat(63), &"!".repeat(44)] {
            assert!(Key::parse(text).is_none(), "{text}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(matches!(Key::from_file(&path), Err(KeyError::File { .. })));
        fs::write(&path, "hunter2").unwrap();
        let error = Key::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("64 hex digits") && !error.contains("hunter2"), "{error}");
        fs::write(&path, "ab".repeat(32)).unwrap();
        assert_eq!(Key::from_file(&path).unwrap().bytes(), &[0xab; 32]);
        assert_eq!(format!("{:?}", Key::from_file(&path).unwrap()), "Key(…)");
        assert!(matches!(Key::from_env("EVENKEEL_NO_SUCH_KEY"), Err(KeyError::Env(_))));
    }
}
