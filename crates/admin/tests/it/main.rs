//! The admin API over real loopback connections, in front of a gateway that is none.

#![allow(clippy::unwrap_used, reason = "helpers of tests may, too")]

mod api;
mod fake;
mod http;
mod metrics;
mod streams;
mod table;
