//! The key file, changed without touching what else is in it: entries, order, comments.
//!
//! A key is added behind the last line, and revoked by one line behind its name. What comes
//! of that is read again before it is written: if it is not the same file with that one
//! change, nothing is written.

use crate::config::keys::{KeyConfig, KeyFile};
use crate::config::{ConfigError, ConfigErrors};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// How a new file begins.
const HEAD: &str = "# Keys of clients, written by `evenkeel key`. Only hashes are kept: nobody can read a key\n\
                    # out of this file. Lines may be changed by hand, too.\n";

/// Why a file cannot be read or changed.
#[derive(Debug)]
pub(super) enum FileError {
    /// It is not what it should be: located.
    Bad(ConfigErrors),
    /// Anything else, in one line.
    Other(String),
}

/// An open key file. Nobody else's `evenkeel key` changes it meanwhile.
#[derive(Debug)]
pub(super) struct KeysFile {
    path: PathBuf,
    text: String,
    keys: Vec<KeyConfig>,
    /// Held until the change is written.
    _lock: File,
}

impl KeysFile {
    /// The file, if there is one.
    pub(super) fn open_if_there(path: &Path) -> Result<Option<Self>, FileError> {
        match fs::exists(path) {
            Ok(false) => Ok(None),
            _ => Self::open_or_new(path).map(Some),
        }
    }

    /// The file, or an empty one in its place.
    pub(super) fn open_or_new(path: &Path) -> Result<Self, FileError> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new("."));
        // The file itself is replaced: whoever holds its directory holds it.
        let lock = File::open(dir).and_then(|dir| {
            flock(&dir, FlockOperation::LockExclusive)?;
            Ok(dir)
        });
        let lock = lock.map_err(|e| other(dir, "cannot be opened", &e))?;
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => HEAD.to_owned(),
            Err(error) => return Err(other(path, "cannot be read", &error)),
        };
        let keys = parse(path, &text)?;
        Ok(Self { path: path.to_owned(), text, keys, _lock: lock })
    }

    pub(super) fn keys(&self) -> &[KeyConfig] {
        &self.keys
    }

    /// Adds a key.
    pub(super) fn add(&mut self, key: &KeyConfig) -> Result<(), FileError> {
        let table = Table { key: [Written::of(key)] };
        let table = toml::to_string(&table).map_err(|e| FileError::Other(e.to_string()))?;
        let end = if self.text.ends_with('\n') || self.text.is_empty() { "" } else { "\n" };
        let text = format!("{}{end}\n{table}", self.text);
        let mut wanted = self.keys.clone();
        wanted.push(key.clone());
        self.replace(text, wanted)
    }

    /// Takes a key back; false when that was done before.
    pub(super) fn revoke(&mut self, id: &str) -> Result<bool, FileError> {
        let mut wanted = self.keys.clone();
        let Some(key) = wanted.iter_mut().find(|key| key.id == id && !key.revoked) else {
            return Ok(false);
        };
        key.revoked = true;
        let text = revoked(&self.text, id).ok_or_else(|| self.by_hand())?;
        self.replace(text, wanted)?;
        Ok(true)
    }

    fn by_hand(&self) -> FileError {
        let path = self.path.display();
        FileError::Other(format!("{path}: its spelling is unusual; change it by hand"))
    }

    fn replace(&mut self, text: String, wanted: Vec<KeyConfig>) -> Result<(), FileError> {
        if parse(&self.path, &text).ok().as_ref() != Some(&wanted) {
            return Err(self.by_hand());
        }
        write_whole(&self.path, &text).map_err(|e| other(&self.path, "cannot be written", &e))?;
        (self.text, self.keys) = (text, wanted);
        Ok(())
    }
}

fn other(path: &Path, what: &str, error: &io::Error) -> FileError {
    FileError::Other(format!("{}: {what}: {error}; check path and rights", path.display()))
}

fn parse(path: &Path, text: &str) -> Result<Vec<KeyConfig>, FileError> {
    let file: KeyFile = toml::from_str(text).map_err(|error| {
        FileError::Bad(ConfigErrors::one(ConfigError::syntax(path, text, &error)))
    })?;
    Ok(file.key)
}

/// A key as it is written: what is not set is left out.
#[derive(Serialize)]
struct Table<'a> {
    key: [Written<'a>; 1],
}

#[derive(Serialize)]
struct Written<'a> {
    id: &'a str,
    hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<&'a str>,
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    limits: toml::Table,
}

impl<'a> Written<'a> {
    fn of(key: &'a KeyConfig) -> Self {
        let mut limits = toml::Table::new();
        let of = &key.limits;
        for (name, value) in [
            ("requests_per_minute", of.requests_per_minute),
            ("tokens_per_minute", of.tokens_per_minute),
            ("streams", of.streams.map(u64::from)),
        ] {
            if let Some(value) = value.and_then(|value| i64::try_from(value).ok()) {
                limits.insert(name.into(), value.into());
            }
        }
        Self {
            id: &key.id,
            hash: &key.hash,
            tenant: key.tenant.as_deref(),
            tier: key.tier.map(|tier| tier.label()),
            services: key.services.as_deref(),
            expires: key.expires.as_deref(),
            limits,
        }
    }
}

/// The text with one key revoked; `None` when its place is not found.
fn revoked(text: &str, id: &str) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let DeValue::Array(keys) = table.get_ref().get("key")?.get_ref() else { return None };
    let key = keys
        .iter()
        .filter_map(|key| key.get_ref().as_table())
        .find(|key| key.get("id").is_some_and(|value| value.get_ref().as_str() == Some(id)))?;
    let mut out = text.to_owned();
    match key.get("revoked") {
        Some(value) => out.replace_range(value.span(), "true"),
        None => {
            let name = key.get("id")?.span().end;
            let line = text.get(name..)?.find('\n').map_or(text.len(), |end| name + end);
            out.insert_str(line, "\nrevoked = true");
        }
    }
    Some(out)
}

/// Writes a file whole or not at all, for its owner only.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // What an interrupted command has left is of no use; its rights may be others.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::settings::{Quota, Tier};
    use std::os::unix::fs::PermissionsExt;

    fn key(id: &str) -> KeyConfig {
        KeyConfig {
            id: id.into(),
            hash: evenkeel_gateway::keys::hash(id).to_string(),
            tenant: Some("t\"1".into()),
            tier: Some(Tier::BestEffort),
            services: Some(vec!["a".into()]),
            expires: Some("2027-01-31T00:00:00Z".into()),
            revoked: false,
            limits: Quota { streams: Some(3), ..Quota::default() },
        }
    }

    #[test]
    fn all_else_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let mut file = KeysFile::open_or_new(&path).unwrap();
        file.add(&key("a")).unwrap();
        drop(file);
        let by_hand = "\n# mine\n[[key]]\nid = 'b' # b's\nhash = \"x\"\nrevoked = false\n[key.limits]\nstreams = 2";
        let before = fs::read_to_string(&path).unwrap() + by_hand;
        fs::write(&path, &before).unwrap();
        let mut file = KeysFile::open_if_there(&path).unwrap().unwrap();
        file.add(&key("c")).unwrap();
        assert!(file.revoke("a").unwrap() && file.revoke("b").unwrap());
        assert!(!file.revoke("a").unwrap() && !file.revoke("nobody").unwrap());
        let after = fs::read_to_string(&path).unwrap();
        let expected = before
            .replace("id = \"a\"\n", "id = \"a\"\nrevoked = true\n")
            .replace("revoked = false", "revoked = true");
        assert!(after.starts_with(&expected), "{after}");
        let states: Vec<_> = file.keys().iter().map(|key| (&*key.id, key.revoked)).collect();
        assert_eq!(states, [("a", true), ("b", true), ("c", false)]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.keys()[2], key("c"));
    }

    #[test]
    fn what_cannot_be_changed_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        assert!(KeysFile::open_if_there(&path).unwrap().is_none());
        let inline = "key = [{ id = \"a\", hash = \"x\" }, { id = \"b\", hash = \"y\" }]\n";
        fs::write(&path, inline).unwrap();
        let mut file = KeysFile::open_or_new(&path).unwrap();
        assert!(matches!(file.revoke("a"), Err(FileError::Other(_))));
        assert!(matches!(file.add(&key("c")), Err(FileError::Other(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), inline);
        drop(file);
        fs::write(&path, "[[key]]\nid = 3\n").unwrap();
        let Err(FileError::Bad(why)) = KeysFile::open_or_new(&path) else { panic!() };
        assert!(why.to_string().contains("keys.toml:2:"), "{why}");
    }
}
