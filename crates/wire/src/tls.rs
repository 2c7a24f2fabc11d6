//! TLS settings from files, with a server certificate that follows its file.

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why TLS cannot be set up; the text names the file and the remedy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

impl TlsError {
    fn at(path: &Path, what: impl std::fmt::Display) -> Self {
        Self(format!("{}: {what}", path.display()))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a PEM file, in its order.
///
/// # Errors
/// When it cannot be read, or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = std::fs::read(path).map_err(|e| {
        TlsError::at(path, format_args!("certificate cannot be read: {e}; check path and rights"))
    })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|e| TlsError::at(path, format_args!("not a PEM file: {e}")))?;
    if found.is_empty() {
        return Err(TlsError::at(path, "holds no certificate (expected PEM)"));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = std::fs::read(path).map_err(|e| {
        TlsError::at(path, format_args!("key cannot be read: {e}; check path and rights"))
    })?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|e| TlsError::at(path, format_args!("holds no private key in PEM form: {e}")))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|e| TlsError::at(path, e))?;
        }
        return Ok(store);
    }
    let system = rustls_native_certs::load_native_certs();
    for certificate in system.certs {
        // A root that cannot be parsed only means that nothing is trusted through it.
        let _ = store.add(certificate);
    }
    if store.is_empty() {
        return Err(TlsError(
            "no trusted certificates on this system: install ca-certificates or set `ca`".into(),
        ));
    }
    Ok(store)
}

/// What a client needs to trust a server and to be trusted by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// Trusted authorities instead of the system's.
    pub ca: Option<PathBuf>,
    /// Own certificate and key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A client configuration from files.
///
/// # Errors
/// When a file cannot be read or does not hold what it should.
pub fn client(files: &ClientFiles, h2: bool) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError(e.to_string()))?
        .with_root_certificates(roots(files.ca.as_deref())?);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(|e| TlsError::at(cert, e))?,
    };
    config.alpn_protocols =
        if h2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Arc::new(config))
}

/// A server's certificate, replaceable while connections are open.
#[derive(Debug)]
pub struct ServerIdentity {
    cert: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl ServerIdentity {
    /// Reads certificate chain and key.
    ///
    /// # Errors
    /// When a file cannot be read, or the key does not belong to the certificate.
    pub fn load(cert: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            current: ArcSwap::new(Arc::new(read_identity(cert, key)?)),
        }))
    }

    /// Reads the files again; new connections get the new certificate. On error the old
    /// one stays.
    ///
    /// # Errors
    /// As [`ServerIdentity::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(read_identity(&self.cert, &self.key)?));
        Ok(())
    }

    /// The files to watch.
    #[must_use]
    pub fn files(&self) -> [&Path; 2] {
        [&self.cert, &self.key]
    }
}

fn read_identity(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(cert)?;
    CertifiedKey::from_der(chain, private_key(key)?, &provider()).map_err(|e| {
        TlsError::at(cert, format_args!("does not go with key {}: {e}", key.display()))
    })
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// A server configuration around an identity; with `client_ca`, clients must show a
/// certificate of that authority.
///
/// # Errors
/// When the authority's file cannot be read.
pub fn server(
    identity: Arc<ServerIdentity>,
    client_ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError(e.to_string()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots(Some(path))?),
                provider(),
            )
            .build()
            .map_err(|e| TlsError::at(path, e))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(identity);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(dir: &Path) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (cert, key)
    }

    #[test]
    fn a_reload_swaps_and_a_bad_file_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = write_pair(dir.path());
        let identity = ServerIdentity::load(&cert, &key).unwrap();
        let first = identity.current.load_full();
        write_pair(dir.path());
        identity.reload().unwrap();
        let second = identity.current.load_full();
        assert_ne!(first.cert, second.cert);
        std::fs::write(&cert, "no certificate").unwrap();
        assert!(identity.reload().unwrap_err().to_string().contains("cert.pem"));
        assert_eq!(identity.current.load_full().cert, second.cert);
        assert!(server(identity, None).is_ok());
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = write_pair(dir.path());
        let missing = dir.path().join("missing.pem");
        for (c, k, named) in [(&missing, &key, "missing.pem"), (&cert, &missing, "missing.pem")] {
            let error = ServerIdentity::load(c, k).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let other = tempfile::tempdir().unwrap();
        let (_, wrong_key) = write_pair(other.path());
        assert!(ServerIdentity::load(&cert, &wrong_key).is_err());
    }
}
