//! Finds by asking which path tells how a server is, and stays with it.
//!
//! `/health` is vLLM's, SGLang's, llama.cpp's; `/v2/health/ready` is Triton's and
//! MLServer's. A server with neither is only asked for a connection: `/v1/models` is not
//! used, since some servers block it behind a running request.

use super::http::{fetch, good};
use super::{Asking, Probe, connect};
use evenkeel_domain::Replica;
use evenkeel_domain::health::ProbeFailure;
use http::{Method, StatusCode};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

const PATHS: [&str; 2] = ["/health", "/v2/health/ready"];
/// Nothing found yet.
const UNKNOWN: u8 = 255;
/// No path: TCP only.
const TCP: u8 = 254;

#[derive(Debug)]
pub(super) struct Auto {
    found: AtomicU8,
}

impl Default for Auto {
    fn default() -> Self {
        Self { found: AtomicU8::new(UNKNOWN) }
    }
}

impl Auto {
    async fn search(&self, replica: &Replica) -> Result<(), ProbeFailure> {
        for (at, path) in (0u8..).zip(PATHS) {
            let response = fetch(replica, Method::GET, path, Default::default()).await?;
            if matches!(
                response.status(),
                StatusCode::NOT_FOUND
                    | StatusCode::METHOD_NOT_ALLOWED
                    | StatusCode::NOT_IMPLEMENTED
            ) {
                continue;
            }
            if response.status().is_success() {
                self.found.store(at, Relaxed);
            }
            return good(path, &response);
        }
        self.found.store(TCP, Relaxed);
        Ok(())
    }
}

impl Probe for Auto {
    fn ask<'a>(&'a self, replica: &'a Replica) -> Asking<'a> {
        Box::pin(async move {
            match self.found.load(Relaxed) {
                UNKNOWN => self.search(replica).await,
                TCP => connect(replica).await.map(drop),
                at => {
                    let path = PATHS.get(usize::from(at)).copied().unwrap_or(PATHS[0]);
                    good(path, &fetch(replica, Method::GET, path, Default::default()).await?)
                }
            }
        })
    }
}
