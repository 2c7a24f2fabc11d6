//! Who is who: one private authority, made by whoever configures the keeper, a certificate
//! for the keeper and one for each node.
//!
//! ```text
//!   state_dir/nodes/authority.json   authority, keeper          (mode 0600, stays here)
//!   NAME.bundle                      authority's certificate, node's certificate and key
//!                                                               (mode 0600, goes to the node)
//! ```
//! Nothing but this authority is trusted, so a name in one of its certificates is proof.

mod files;
pub(crate) mod tls;

use files::{read, write_new};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// How long certificates last: longer than hosts do. A new bundle is one command.
const YEARS: i64 = 10;
const DAY: i64 = 86_400;
/// The keeper's name in its certificate.
pub(crate) const KEEPER: &str = "keeper.evenkeel";

/// A node's name in its certificate.
pub(crate) fn node_name(node: &str) -> String {
    format!("{node}.node.evenkeel")
}

/// Whether a name can stand in a certificate: 1 to 63 of a-z, 0-9 and `-`.
#[must_use]
pub fn is_node_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Why there is no identity. Each names the file and what helps.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("{}: {error}; {remedy}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
        /// What helps.
        remedy: &'static str,
    },
    /// It is not what it should be.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong and what helps.
        what: String,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(String),
}

/// A certificate with its key, and the authority that is trusted.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) expires_unix_s: u64,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// The keeper's side: what makes certificates, and the keeper's own.
#[derive(Serialize, Deserialize)]
pub struct Authority {
    /// Tells this authority from others, in its name.
    id: String,
    authority_key: String,
    keeper: Credentials,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a node is given: one file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bundle {
    /// The node's name.
    pub node: String,
    /// Where its keeper looks for it, as `HOST:PORT`.
    pub address: String,
    pub(crate) credentials: Credentials,
}

impl Authority {
    /// The file within a state directory.
    #[must_use]
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("nodes/authority.json")
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is not there or not what it should be.
    pub fn read(state_dir: &Path) -> Result<Self, IdentityError> {
        read(&Self::path(state_dir), "make one with `evenkeel node new`")
    }

    /// Reads it, or makes one where there is none. `now` in seconds since the Unix epoch,
    /// `id` to tell it from others.
    ///
    /// # Errors
    /// When it cannot be read, made or written.
    pub fn read_or_new(state_dir: &Path, id: u64, now: u64) -> Result<Self, IdentityError> {
        let path = Self::path(state_dir);
        if !path.exists() {
            let new = Self::make(&format!("{id:016x}"), now).map_err(make)?;
            match write_new(&path, &new) {
                // Somebody else was faster: theirs counts.
                Err(IdentityError::File { error, .. })
                    if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|()| new),
            }
        }
        Self::read(state_dir)
    }

    fn make(id: &str, now: u64) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let params = authority_params(id, now)?;
        let certificate = params.self_signed(&key)?.pem();
        let authority_key = key.serialize_pem();
        let issuer = Issuer::new(params, key);
        let keeper = issue(&issuer, &certificate, KEEPER, now)?;
        Ok(Self { id: id.to_owned(), authority_key, keeper })
    }

    /// What a node of this name is given.
    ///
    /// # Errors
    /// When the authority's key is broken.
    pub fn bundle(&self, node: &str, address: &str, now: u64) -> Result<Bundle, IdentityError> {
        let made = || {
            let key = KeyPair::from_pem(&self.authority_key)?;
            let issuer = Issuer::new(authority_params(&self.id, now)?, key);
            issue(&issuer, &self.keeper.authority, &node_name(node), now)
        };
        let credentials = made().map_err(make)?;
        Ok(Bundle { node: node.to_owned(), address: address.to_owned(), credentials })
    }

    /// How the keeper shows itself.
    pub(crate) fn keeper(&self) -> &Credentials {
        &self.keeper
    }

    /// When the keeper's certificate ends (seconds since the Unix epoch).
    #[must_use]
    pub fn expires_unix_s(&self) -> u64 {
        self.keeper.expires_unix_s
    }
}

impl Bundle {
    /// Reads the file that a node was given.
    ///
    /// # Errors
    /// When it is not there or not what it should be.
    pub fn read(path: &Path) -> Result<Self, IdentityError> {
        read(path, "`evenkeel node new`, where the keeper runs, makes it")
    }

    /// Writes it, for its owner alone. What is there stays.
    ///
    /// # Errors
    /// When there is such a file, or it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), IdentityError> {
        write_new(path, self)
    }
}

fn make(error: rcgen::Error) -> IdentityError {
    IdentityError::Make(error.to_string())
}

fn authority_params(id: &str, now: u64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, format!("evenkeel nodes {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    lasting(&mut params, now);
    Ok(params)
}

fn issue(
    issuer: &Issuer<'_, KeyPair>,
    authority: &str,
    name: &str,
    now: u64,
) -> Result<Credentials, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let expires_unix_s = lasting(&mut params, now);
    Ok(Credentials {
        authority: authority.to_owned(),
        certificate: params.signed_by(&key, issuer)?.pem(),
        key: key.serialize_pem(),
        expires_unix_s,
    })
}

/// From yesterday, for clocks that are late, until it ends, which is given.
fn lasting(params: &mut CertificateParams, now: u64) -> u64 {
    let now = i64::try_from(now).unwrap_or_default();
    let at = |s: i64| OffsetDateTime::from_unix_timestamp(s);
    let end = now + YEARS * 365 * DAY;
    if let (Ok(begin), Ok(end)) = (at(now - DAY), at(end)) {
        (params.not_before, params.not_after) = (begin, end);
    }
    u64::try_from(end).unwrap_or_default()
}
