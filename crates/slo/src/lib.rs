//! Availability: the arithmetic of it, and the account that is kept of it.
//!
//! ```text
//!  samples (up, down, planned) ─┐
//!  requests (good, bad)        ─┴─► Accountant ─► ledger ─► windows ─► burn rules ─► budget
//!                                       │ deltas      minutes, hours
//!                                       ▼
//!                                     store
//! ```
//! Nothing here reads a clock, waits or does I/O: what is so and when goes in, what it means
//! comes out. Shares are numbers from 0 to 1; times are [`Duration`](std::time::Duration)s or
//! milliseconds.

pub mod account;
pub mod availability;
pub mod axis;
mod bad;
pub mod budget;
pub mod burn;
pub mod capacity;
pub mod ledger;
pub mod recovery;
pub mod spread;
pub mod structure;
pub mod wilson;

pub use bad::Bad;
