//! Alerts in this process, on a thread of their own: a channel that hangs, or an fsync, holds up
//! neither clients nor health.
//!
//! ```text
//!   state, recovery, account ─► world ─► sources ─► desk (pure) ─► store ─► channels
//!                                                    ▲   │           written first, then sent
//!   people: ack, silence ────────────────────────────┘   └─► events, log, admin API, metrics
//! ```
//! It begins once this gateway serves and ends when it drains: of two gateways the newer alerts,
//! and the store refuses the older.

mod ask;
mod run;
mod send;
mod world;

pub(super) use ask::Ask;
pub(crate) use send::try_one;

use super::overrides::Overrides;
use super::recovery::Recovery;
use super::slo::Account;
use super::source::GatewayState;
use crate::config::{self, Config};
use arc_swap::ArcSwap;
use evenkeel_admin::view::{AlertsView, TriedView};
use evenkeel_domain::alert::{Labels, Past, Severity};
use evenkeel_domain::clock;
use evenkeel_notify::channel::Channel;
use evenkeel_notify::source::{AlertRule, SourceSettings};
use evenkeel_notify::stage::Policy;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Orders that may wait: people give them one by one.
const ORDERS: usize = 64;

/// What a configuration says of alerts.
pub(super) struct Setup {
    policy: Policy,
    channels: BTreeMap<String, Way>,
    sources: BTreeMap<String, SourceSettings>,
    rules: Vec<AlertRule>,
    /// How urgent checks are that say so themselves.
    urgent: BTreeMap<String, Severity>,
}

/// One channel, or why it cannot be used.
struct Way {
    kind: String,
    channel: Result<Arc<dyn Channel>, String>,
}

impl Setup {
    fn of(config: &Config) -> Self {
        let ways = config::channels(config).into_iter();
        Self {
            policy: config::policy(config),
            channels: ways.map(|(name, kind, channel)| (name, Way { kind, channel })).collect(),
            sources: config.alerts.source.clone(),
            rules: config.alert.clone(),
            urgent: config
                .check
                .iter()
                .filter_map(|check| Some((check.name.clone(), check.alert?)))
                .collect(),
        }
    }
}

/// What people order.
enum Order {
    Acknowledge { id: String, owner: String },
    Silence { matching: Labels, owner: String, why: String, lasts: Duration },
    Unsilence { id: String, owner: String },
}

/// What is asked of the thread, and where the answer goes.
enum Asked {
    Order(Order, oneshot::Sender<Result<(), String>>),
    History(u32, oneshot::Sender<Result<Vec<Past>, String>>),
    Test(Option<String>, oneshot::Sender<Result<Vec<TriedView>, String>>),
}

/// What others in this process know of alerts.
pub(super) struct Alerts {
    state: Arc<GatewayState>,
    overrides: Arc<Overrides>,
    recovery: Arc<Recovery>,
    account: Arc<Account>,
    setup: ArcSwap<Setup>,
    view: ArcSwap<AlertsView>,
    asks: mpsc::Sender<Asked>,
    begun: Instant,
    /// Whether the thread has ended, or never began.
    over: watch::Sender<bool>,
}

impl Alerts {
    /// Alerts of which nobody is told yet; with what is asked of them.
    pub(super) fn new(
        config: &Config,
        state: &Arc<GatewayState>,
        overrides: &Arc<Overrides>,
        recovery: &Arc<Recovery>,
        account: &Arc<Account>,
    ) -> (Arc<Self>, Inbox) {
        let (asks, inbox) = mpsc::channel(ORDERS);
        let error = Some("alerting has not begun yet".to_owned());
        let alerts = Arc::new(Self {
            state: state.clone(),
            overrides: overrides.clone(),
            recovery: recovery.clone(),
            account: account.clone(),
            setup: ArcSwap::from_pointee(Setup::of(config)),
            view: ArcSwap::from_pointee(AlertsView { error, ..AlertsView::default() }),
            asks,
            begun: clock::now(),
            over: watch::Sender::new(true),
        });
        (alerts, Inbox(inbox))
    }

    /// A new configuration is in force.
    pub(super) fn configure(&self, config: &Config) {
        self.setup.store(Arc::new(Setup::of(config)));
    }

    /// Begins, on a thread of its own. `path` is the store's.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(self: &Arc<Self>, path: PathBuf, inbox: Inbox) -> io::Result<()> {
        let alerts = self.clone();
        self.over.send_replace(false);
        let begun = std::thread::Builder::new().name("alerts".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    runtime.block_on(run::run(&alerts, path, inbox.0));
                    // A resolver may be stuck for minutes.
                    runtime.shutdown_background();
                }
                Err(error) => tracing::error!(%error, "nobody is told of alerts"),
            }
            alerts.over.send_replace(true);
        });
        begun.map(drop).inspect_err(|error| {
            tracing::error!(%error, "nobody is told of alerts");
            self.over.send_replace(true);
        })
    }

    /// Waits until what is being written is written, once this gateway drains.
    pub(super) async fn end(&self, within: Duration) {
        let mut over = self.over.subscribe();
        if timeout(within, over.wait_for(|over| *over)).await.is_err() {
            tracing::warn!("alerts were not closed in time");
        }
    }
}

/// What is asked of alerts before their thread begins.
pub(super) struct Inbox(mpsc::Receiver<Asked>);
