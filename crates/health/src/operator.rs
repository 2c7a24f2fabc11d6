//! What operators order: kept apart from what is measured, with an owner and an end.

use evenkeel_domain::Health;
use serde::{Deserialize, Serialize};

/// An operator's order about one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The replica's name.
    pub replica: String,
    /// What is ordered.
    pub order: Order,
    /// Who ordered it.
    pub owner: String,
    /// When it ends by itself, in milliseconds since the Unix epoch; `None` for never.
    pub until_unix_ms: Option<u64>,
}

/// What an operator can order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Nothing new; what runs may finish.
    Drain,
    /// Out at once: what runs is moved.
    Isolate,
}

impl Override {
    /// Whether it still holds.
    #[must_use]
    pub fn holds(&self, now_unix_ms: u64) -> bool {
        self.until_unix_ms.is_none_or(|until| now_unix_ms < until)
    }

    /// The state it puts the replica in.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.order {
            Order::Drain => Health::Draining,
            Order::Isolate => Health::Isolated,
        }
    }

    /// For people.
    #[must_use]
    pub fn describe(&self) -> String {
        let verb = match self.order {
            Order::Drain => "drained",
            Order::Isolate => "isolated",
        };
        format!("{verb} by {}", self.owner)
    }
}
