//! TLS 1.3 with certificates on both sides, of one authority.

use super::{Credentials, KEEPER, node_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;

/// Credentials that cannot be used. Says nothing of what is in them.
#[derive(Debug, thiserror::Error)]
#[error("the certificates cannot be used ({0}); make new ones with `evenkeel node new`")]
pub struct TlsError(String);

impl TlsError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

struct Parsed {
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn parse(from: &Credentials) -> Result<Parsed, TlsError> {
    let certificate =
        |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(TlsError::new);
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&from.authority)?).map_err(TlsError::new)?;
    let key = PrivateKeyDer::from_pem_slice(from.key.as_bytes());
    let key = key.map_err(|_| TlsError::new("no private key"))?;
    Ok(Parsed { roots, chain: vec![certificate(&from.certificate)?], key })
}

/// For whoever opens connections.
pub(crate) fn client(credentials: &Credentials) -> Result<Arc<ClientConfig>, TlsError> {
    let Parsed { roots, chain, key } = parse(credentials)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::new)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(TlsError::new)?;
    Ok(Arc::new(config))
}

/// For an agent, which takes only those who show a certificate of the authority.
pub(crate) fn server(credentials: &Credentials) -> Result<Arc<ServerConfig>, TlsError> {
    let Parsed { roots, chain, key } = parse(credentials)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(TlsError::new)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::new)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(TlsError::new)?;
    Ok(Arc::new(config))
}

/// The name that a node's certificate must have.
pub(crate) fn server_name(node: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(node_name(node)).map_err(TlsError::new)
}

/// Whether a certificate that was verified is the keeper's, or the node's of this name.
pub(crate) fn is(certificate: &CertificateDer<'_>, node: Option<&str>) -> bool {
    let name = node.map_or_else(|| KEEPER.to_owned(), node_name);
    let Ok(name) = ServerName::try_from(name) else { return false };
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, &name).is_ok())
}
