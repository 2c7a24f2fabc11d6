//! Probes: one question to one replica, and what came back. They judge nothing.
//!
//! A new probe is one file here and one line in [`build`].

mod auto;
mod golden;
mod grpc;
mod http;
mod inference;
mod queue;
pub mod runner;
mod tcp;

use evenkeel_domain::Replica;
use evenkeel_domain::health::ProbeFailure;
use evenkeel_domain::outcome::NetworkFault;
use evenkeel_domain::settings::{Probe as Settings, Protocol};
use evenkeel_domain::transport::Connection;
use std::future::Future;
use std::pin::Pin;

/// Names that a configuration may use.
pub const KINDS: [&str; 5] = ["auto", "tcp", "http", "grpc", "inference"];

/// The future of one probe.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<(), ProbeFailure>> + Send + 'a>>;

/// Asks a replica how it is.
pub trait Probe: Send + Sync + std::fmt::Debug {
    /// One question. Has no deadline of its own: the caller drops the future.
    fn ask<'a>(&'a self, replica: &'a Replica) -> Asking<'a>;
}

/// The probe of that name; unknown names (refused when the file is read) give `auto`.
#[must_use]
pub fn build(settings: &Settings, protocol: Protocol, model: &str) -> Box<dyn Probe> {
    match settings.kind.as_str() {
        "tcp" => Box::new(tcp::Tcp),
        "http" => Box::new(http::Http::new(&settings.path, &settings.expect)),
        "grpc" => Box::new(grpc::Grpc::new(&settings.grpc_service)),
        "inference" => Box::new(inference::Inference::new(settings, model)),
        _ if protocol == Protocol::Grpc => Box::new(grpc::Grpc::or_tcp(&settings.grpc_service)),
        _ => Box::new(auto::Auto::default()),
    }
}

fn failure(text: String) -> ProbeFailure {
    ProbeFailure { refused: false, not_ready: false, silent: false, text: text.into() }
}

async fn connect(replica: &Replica) -> Result<Connection, ProbeFailure> {
    replica.id.dial.dial().await.map_err(|error| ProbeFailure {
        refused: error.fault == NetworkFault::Refused,
        not_ready: false,
        silent: false,
        text: error.text.into(),
    })
}
