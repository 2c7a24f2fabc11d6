//! What is taken on: no more than the replicas can start.

pub(crate) mod concurrency;
pub(crate) mod queue;
