//! What is taken on: from whom, how much of it, and no more than the replicas can start.

mod check;
pub(crate) mod concurrency;
pub mod keys;
pub(crate) mod limit;
pub(crate) mod queue;
