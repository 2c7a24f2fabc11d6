//! OpenAI's Files and Batches API, with a durable queue.
//!
//! ```text
//!   client ─► gateway ─► router ──┐                    ┌── Execute ─► gateway, low priority
//!                                 ▼                    ▼
//!                             BatchStore ◄────────── Runner
//!                        files, orders, answers   one at a time, by lease
//! ```
//!
//! A batch is a file with one request per line. What is accepted is on disk before the
//! answer says so, and outlives the death of every process involved at any moment; each
//! line is answered exactly once in the output ([`runner`] says how).
//!
//! The router and the runner share [`Parts`]: the store, the settings, the clock, and
//! [`Execute`], the port to whatever answers a line.

mod answer;
mod content;
mod error;
mod execute;
mod http;
mod lines;
mod multipart;
mod output;
mod plan;
pub mod runner;
mod settings;
mod validate;

pub use content::Now;
pub use execute::{Call, Calling, Done, Execute};
pub use http::{KEY_HEADER, Parts, router};
pub use runner::{Runner, Stats, holder};
pub use settings::BatchSettings;
