//! What every request sees: settings, model, slots, and names for answers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evenkeel_domain::clock;
use tokio::time::Instant;

use crate::Settings;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::hash;
use crate::model::Model;
use crate::slots::Slots;

/// The state of a server.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) model: Arc<Model>,
    pub(crate) slots: Slots,
    /// Unix seconds at start.
    pub(crate) created: u64,
    load: Mutex<Load>,
    start: u64,
    answers: AtomicU64,
    seeds: AtomicU64,
}

/// Whether the model is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Nobody wants it.
    Unloaded,
    /// It is ready from then on; `None`: never, for a load time beyond what the clock can hold.
    From(Option<Instant>),
}

/// What every OpenAI answer carries.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) created: u64,
}

impl App {
    /// Builds the model; from now on it "loads" for as long as the settings say.
    pub(crate) fn new(settings: Settings) -> Self {
        let start = clock::unix_millis();
        Self {
            model: Arc::new(Model::new(settings.seed)),
            slots: Slots::new(settings.slots, settings.queue),
            created: start / 1000,
            load: Mutex::new(match settings.unloaded {
                true => Load::Unloaded,
                false => Load::From(Instant::now().checked_add(settings.load_time)),
            }),
            start: hash::mix(start ^ u64::from(std::process::id()).rotate_left(40)),
            answers: AtomicU64::new(0),
            seeds: AtomicU64::new(0),
            settings,
        }
    }

    /// Whether the model has loaded.
    pub(crate) fn ready(&self) -> bool {
        match *self.load() {
            Load::Unloaded => false,
            Load::From(_) if self.settings.load_time.is_zero() => true,
            Load::From(at) => at.is_some_and(|at| Instant::now() >= at),
        }
    }

    /// Loads the model, unless it is there or on its way; returns once it is.
    pub(crate) async fn wake(&self) {
        let at = {
            let mut load = self.load();
            if *load == Load::Unloaded {
                *load = Load::From(Instant::now().checked_add(self.settings.load_time));
            }
            match *load {
                Load::From(Some(at)) => at,
                Load::From(None) | Load::Unloaded => return,
            }
        };
        if !self.settings.load_time.is_zero() {
            tokio::time::sleep_until(at).await;
        }
    }

    /// Frees the model. Answers under way go on to their end.
    pub(crate) fn sleep(&self) {
        *self.load() = Load::Unloaded;
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id that no other answer of any server has, and the time.
    pub(crate) fn head(&self, prefix: &str) -> Head {
        let number = self.answers.fetch_add(1, Relaxed);
        let id = format!("{prefix}{:016x}{number:08x}", hash::mix(self.start ^ number));
        Head { id, created: clock::unix_millis() / 1000 }
    }

    /// The seed for a request that names none.
    pub(crate) fn next_seed(&self) -> u64 {
        hash::mix(self.settings.seed ^ self.seeds.fetch_add(1, Relaxed).rotate_left(32))
    }

    /// Refuses a request for another model. One that names none gets the one there is.
    pub(crate) fn check_model(&self, fields: &Fields) -> Result<(), ApiError> {
        match fields.text("model")? {
            Some(name) if name != self.settings.model => Err(ApiError::no_such_model(name)),
            _ => Ok(()),
        }
    }
}
