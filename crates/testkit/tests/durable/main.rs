//! Files and batches on a real disk, in a real process: killed, traced, and used by a
//! client that others wrote.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod bounds;
mod crash;
mod foreign;
mod support;
mod synced;
