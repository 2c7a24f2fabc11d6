//! The API and the runner, over a store in memory and with time held still.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod api;
mod cut;
mod runner;
mod support;
