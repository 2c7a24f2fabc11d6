//! Guard and supervisor against real processes.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod failures;
mod lifecycle;
mod output;
mod suite;
mod support;
mod trees;
