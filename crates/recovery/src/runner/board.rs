//! What the runner shows to whoever asks, from memory.

use crate::plan::Change;
use arc_swap::ArcSwap;
use evenkeel_domain::histogram::Histogram;
use evenkeel_domain::incident::{Cause, Incident, Phase, Standing};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What is shown.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Under which epoch recovery runs; 0 before it does.
    pub epoch: u64,
    /// Open incidents, each with why nothing is done about it right now.
    pub open: Vec<(Incident, String)>,
    /// What stands beside them.
    pub standing: Standing,
}

/// Something happened that others are told of.
#[derive(Debug, Clone)]
pub enum Told {
    /// An incident has moved: from where, and how it is now.
    Moved(Phase, Box<Incident>),
    /// The storm stop began or ended, and why.
    Storm(bool, String),
}

type Tell = Box<dyn Fn(Told) + Send + Sync>;

/// The board.
pub struct Board {
    view: ArcSwap<View>,
    broken: ArcSwap<Option<String>>,
    actions: Mutex<BTreeMap<(&'static str, bool), u64>>,
    /// Incidents that were confirmed since the process began.
    pub confirmed: AtomicU64,
    /// From the first sign until confirmed.
    pub detect: Histogram,
    /// From the first sign until it served again.
    pub mitigate: Histogram,
    tell: Tell,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

impl Board {
    /// An empty board; `tell` hears of everything that happens and must not wait.
    #[must_use]
    pub fn new(tell: impl Fn(Told) + Send + Sync + 'static) -> Self {
        Self {
            view: ArcSwap::default(),
            broken: ArcSwap::from_pointee(Some("recovery has not begun yet".into())),
            actions: Mutex::default(),
            confirmed: AtomicU64::new(0),
            detect: Histogram::default(),
            mitigate: Histogram::default(),
            tell: Box::new(tell),
        }
    }

    /// What is so.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Why nothing is done at all; `None` while everything is well.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        (**self.broken.load()).clone()
    }

    /// Actions that ended, by name and whether they succeeded.
    #[must_use]
    pub fn actions(&self) -> BTreeMap<(&'static str, bool), u64> {
        self.actions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn show(&self, epoch: u64, open: Vec<(Incident, String)>, standing: Standing) {
        self.view.store(Arc::new(View { epoch, open, standing }));
    }

    /// Nothing is done any more; said once.
    pub fn broken(&self, why: &str) {
        if self.why_not().as_deref() != Some(why) {
            tracing::error!(why, "recovery does nothing; serving goes on");
            self.broken.store(Arc::new(Some(why.to_owned())));
        }
    }

    pub(super) fn mended(&self) {
        if self.broken.load().is_some() {
            self.broken.store(Arc::new(None));
        }
    }

    pub(super) fn acted(&self, name: &'static str, good: bool) {
        let mut actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        *actions.entry((name, good)).or_default() += 1;
    }

    pub(super) fn told(&self, change: &Change) {
        let Some(incident) = &change.record.incident else {
            let kind = change.record.entry.kind.as_str();
            let text = change.record.entry.text.clone();
            match kind {
                "storm" => (self.tell)(Told::Storm(true, text)),
                "calm" => (self.tell)(Told::Storm(false, text)),
                _ => tracing::info!("{text}"),
            }
            return;
        };
        if change.from == incident.phase {
            return;
        }
        let times = &incident.times;
        // What has not happened was neither detected nor mended late.
        let counts = incident.cause != Cause::Forecast;
        let since = |at: Option<u64>| {
            let span = |at: u64| Duration::from_millis(at.saturating_sub(times.onset));
            at.filter(|_| counts).map(span)
        };
        match (change.from, incident.phase) {
            (Phase::Suspected, Phase::Confirmed) => {
                self.confirmed.fetch_add(1, Relaxed);
                since(times.detected).into_iter().for_each(|took| self.detect.record(took));
            }
            (_, Phase::Probation) => {
                since(times.mitigated).into_iter().for_each(|took| self.mitigate.record(took));
            }
            _ => {}
        }
        (self.tell)(Told::Moved(change.from, Box::new(incident.clone())));
    }
}
