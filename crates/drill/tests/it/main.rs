//! Load against a small server of its own, and faults as a client sees them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod compare;
mod fault;
mod load;
mod pace;
mod server;
