//! What a drill asks of the Evenkeel that it is about.

use crate::plan::Look;
use evenkeel_domain::event::Event;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Command;
use tokio::task::JoinHandle;

/// An answer that is on its way; an error says what is wrong and what helps.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// A running Evenkeel.
pub trait Subject: Send + Sync + 'static {
    /// How it is.
    fn look(&self) -> Asking<'_, Look>;

    /// What happened after the cursor.
    fn events(&self, after: u64) -> Asking<'_, Vec<Event>>;

    /// Leads connections to a replica to `to` while what is given back is held.
    fn detour<'a>(&'a self, replica: &'a str, to: SocketAddr, why: &'a str) -> Asking<'a, Hold>;

    /// Puts the gateway's clock ahead while what is given back is held.
    fn clock<'a>(&'a self, ahead_ms: i64, why: &'a str) -> Asking<'a, Hold>;

    /// Has the configuration read again.
    fn reload(&self) -> Asking<'_, ()>;

    /// Has the gateway replaced.
    fn upgrade(&self) -> Asking<'_, ()>;

    /// The command that runs `fault::guard::guard_main` on the argument that is added to it.
    ///
    /// # Errors
    /// When this program's own file cannot be found.
    fn guard(&self) -> Result<Command, String>;
}

/// Something that lasts as long as this is kept, and as the other side wants.
#[derive(Debug)]
pub struct Hold(JoinHandle<()>);

impl Hold {
    /// From a task that ends when the other side has let go, and whose end lets go of it.
    #[must_use]
    pub fn new(task: JoinHandle<()>) -> Self {
        Self(task)
    }

    /// Whether the other side has let go.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.abort();
    }
}
