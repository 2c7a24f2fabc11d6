//! Faults on the wire between a client and one upstream.
//!
//! ```text
//!                      ┌────────────── fault proxy ──────────────┐
//!  client ── request ─►│ up ───────────────────────────────────► │─► upstream
//!         ◄─ answer ── │ ◄─ writer ◄─ (due, bytes) ◄─ down ◄──── │◄─
//!                      └───────▲─────────────────────▲───────────┘
//!                        waits, ends          asks the fault about each piece
//! ```
//!
//! A fault only decides; the proxy acts. It holds from [`FaultProxy::set`] until
//! [`FaultProxy::clear`], another `set`, or the proxy's end, so none can be left behind.
//!
//! A new fault: one file, one line in [`REGISTRY`], one case in the tests.

pub mod asked;
mod bandwidth;
mod blackhole;
mod cut;
mod empty_body;
mod flow;
mod garbage;
pub mod guard;
mod half_open;
mod hollow;
mod http;
mod in_turn;
mod kind;
mod latency;
mod loss;
mod pass;
mod proxy;
mod refuse;
mod rename;
mod reset;
mod spec;
mod text;
mod truncate;
mod truncated_json;
mod wrong;

pub use bandwidth::Bandwidth;
pub use blackhole::Blackhole;
pub use cut::CutAfter;
pub use empty_body::EmptyBody;
pub use flow::Flow;
pub use garbage::Garbage;
pub use half_open::HalfOpen;
pub use hollow::Hollow;
pub use http::Http;
pub use in_turn::InTurn;
pub use kind::{Kind, Listed, Need, all, kind};
pub use latency::Latency;
pub use loss::{Loss, LossOf};
pub use pass::Pass;
pub use proxy::{FaultProxy, Stats};
pub use refuse::Refuse;
pub use rename::Rename;
pub use reset::ResetAfter;
pub use spec::{BadFault, parse};
pub use truncate::Truncate;
pub use truncated_json::TruncatedJson;
pub use wrong::Wrong;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A fault, shared by the connections it is on.
pub type SharedFault = Arc<dyn Fault>;

/// Decides what goes wrong. Every method's default is that nothing does. No clock, no I/O:
/// times come from [`Flow::now`], chance from [`Flow::rng`].
pub trait Fault: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// Whether the port listens at all.
    fn listens(&self) -> bool {
        true
    }

    /// What becomes of a connection that has just come in.
    fn accept(&self) -> Accept {
        Accept::Forward
    }

    /// What becomes at once of connections that were open when the fault was set.
    fn running(&self) -> Option<End> {
        None
    }

    /// What is answered in the upstream's place.
    fn answer(&self) -> Option<Answer> {
        None
    }

    /// Whether requests are withheld from the upstream; `begins` tells that one begins now.
    fn withholds(&self, _begins: bool) -> bool {
        false
    }

    /// Changes a piece of the upstream's answer; its length stays.
    fn change(&self, _flow: &mut Flow, _piece: &mut [u8]) {}

    /// What becomes of a piece of the upstream's answer.
    fn step(&self, _flow: &mut Flow, _piece: &[u8]) -> Step {
        Step::Pass
    }

    /// The largest piece that is passed at once.
    fn piece_limit(&self) -> usize {
        usize::MAX
    }
}

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// It is served.
    Forward,
    /// It is neither read nor written until the fault is over.
    Hold,
    /// It ends.
    End(End),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order, as far as TCP can tell (FIN).
    Fin,
    /// Torn down (RST).
    Reset,
}

/// What becomes of a piece of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It goes on to the client.
    Pass,
    /// It goes on at this time, after whatever came before it.
    At(Instant),
    /// So many bytes of it go on, then the connection ends.
    Cut(usize, End),
    /// It waits until the fault is over.
    Stall,
}

/// An answer in the upstream's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As they go over the wire, head included.
    pub bytes: Vec<u8>,
    /// Whether the connection ends after it.
    pub close: bool,
}

/// A fault that can be named in text.
pub struct Entry {
    /// The name before the colon.
    pub name: &'static str,
    /// An example of the whole, for help texts.
    pub example: &'static str,
    /// Whether it must understand HTTP/1 to do so.
    pub reads: bool,
    /// Makes it from what comes after the colon, which may be nothing.
    pub make: fn(&str) -> Result<SharedFault, String>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.example).finish()
    }
}

/// All faults.
pub const REGISTRY: &[Entry] = &[
    Entry { name: "pass", example: "pass", reads: false, make: pass::make },
    Entry {
        name: "latency",
        example: "latency:50ms,jitter=10ms",
        reads: false,
        make: latency::make,
    },
    Entry { name: "bandwidth", example: "bandwidth:10k", reads: false, make: bandwidth::make },
    Entry { name: "loss", example: "loss:10%,of=pieces", reads: false, make: loss::make },
    Entry { name: "cut", example: "cut:300", reads: false, make: cut::make },
    Entry { name: "reset", example: "reset:0", reads: false, make: reset::make },
    Entry { name: "refuse", example: "refuse:running", reads: false, make: refuse::make },
    Entry { name: "half-open", example: "half-open", reads: false, make: half_open::make },
    Entry { name: "blackhole", example: "blackhole", reads: false, make: blackhole::make },
    Entry { name: "truncate", example: "truncate:100", reads: true, make: truncate::make },
    Entry {
        name: "http",
        example: "http:503,retry-after=1,body=busy",
        reads: true,
        make: http::make,
    },
    Entry {
        name: "truncated-json",
        example: "truncated-json",
        reads: true,
        make: truncated_json::make,
    },
    Entry { name: "empty-body", example: "empty-body", reads: true, make: empty_body::make },
    Entry { name: "garbage", example: "garbage", reads: true, make: garbage::make },
    Entry { name: "wrong", example: "wrong", reads: true, make: wrong::make },
    Entry { name: "rename", example: "rename", reads: true, make: rename::make },
    Entry { name: "hollow", example: "hollow", reads: true, make: hollow::make },
    Entry { name: "in-turn", example: "in-turn:3,http:500", reads: true, make: in_turn::make },
];
