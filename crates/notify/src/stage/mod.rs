//! What is told to whom and when: pure, with `now` passed in.

mod desk;
mod group;
mod outbox;
mod people;
mod policy;
mod window;

#[cfg(test)]
mod tests;

pub use desk::{ALERTS, BLIND, Desk, Happened, SETTLES, SILENCES, TOLD};
pub use group::Group;
pub use outbox::{Answer, WAITING};
pub use policy::{Policy, Quiet, REST, Route, Step};
pub use window::{Day, Window, WindowSettings};
