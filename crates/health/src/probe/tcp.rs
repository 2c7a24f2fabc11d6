//! Whether a connection is accepted.

use super::{Asking, Probe, connect};
use evenkeel_domain::Replica;

#[derive(Debug)]
pub(super) struct Tcp;

impl Probe for Tcp {
    fn ask<'a>(&'a self, replica: &'a Replica) -> Asking<'a> {
        Box::pin(async move { connect(replica).await.map(drop) })
    }
}
