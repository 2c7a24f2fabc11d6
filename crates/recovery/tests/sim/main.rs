//! Recovery in a simulated world with virtual time: crashes after every row, steps that fail,
//! storms.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod ahead;
mod crash;
mod hold;
mod limits;
mod world;
