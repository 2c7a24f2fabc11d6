//! Alerts: who is told of what, by which way, and how often.
//!
//! ```text
//!  World ─► source ─► findings ─► stage (pure) ─► messages ─► channel ─► people
//!  what is so, one file each      desk: group, silence,      one file each,
//!                                 repeat, escalate, retry    sends once
//! ```
//! Nothing here has a clock or a task of its own; `app` brings time, store and world.

pub mod breaker;
pub mod channel;
pub mod json;
mod settings;
pub mod source;
pub mod stage;
pub mod text;

pub use settings::{ChannelSettings, Wrong};
