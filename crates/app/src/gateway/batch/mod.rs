//! Files and batches in this process: the store, the API and the runner on a thread of their
//! own, so that reading, sealing and the disk hold up neither clients nor health.
//!
//! ```text
//!   client ─► worker ─► dial ─► router ──► store
//!                                            ▲
//!             worker ◄─ dial ◄─ execute ◄─ runner ◄─ busy
//! ```
//! Nothing else needs this thread: without it serving goes on, and files and batches are
//! refused until the next start.

mod busy;
mod execute;
mod serve;

use super::{Failure, source::GatewayState};
use crate::config::{self, Config};
use evenkeel_admin::view::BatchView;
use evenkeel_batch::{BatchSettings, Parts, Runner, holder};
use evenkeel_domain::durable::{BatchStatus, BatchStore};
use evenkeel_gateway::Within;
use evenkeel_store::{Options, Store};
use evenkeel_wire::within::{self, Dialer, Listener};
use execute::Gateway;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Connections that may wait to be taken: clients' uploads and questions.
const BACKLOG: usize = 64;
/// What multipart adds to a file.
const FORM: u64 = 1 << 20;
/// How often is looked what the store holds.
const COUNT: Duration = Duration::from_secs(2);
/// Paths of the API.
const PATHS: &[&str] = &["/v1/files", "/v1/batches"];

/// The thread, from outside.
pub(super) struct Batches {
    end: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
    within: Within,
}

/// What the thread works with.
struct Inside {
    settings: BatchSettings,
    state: Arc<GatewayState>,
    execute: Arc<Gateway>,
    listener: Listener,
    /// Nobody asks any more.
    end: oneshot::Receiver<()>,
    /// How long lines under way may take once the gateway drains.
    grace: Duration,
}

/// Opens the store and starts, where the configuration says so. `dialers` reach the workers.
pub(super) async fn start(
    config: &Config,
    state: &Arc<GatewayState>,
    dialers: Vec<Dialer>,
) -> Result<Option<Batches>, Failure> {
    let Some(settings) = config.batch.clone() else { return Ok(None) };
    let options = config::store_options(config, &settings, holder())?;
    let (dialer, listener) = within::pair(BACKLOG);
    let max_body = settings.max_file_bytes.saturating_add(FORM);
    let (end, ends) = oneshot::channel();
    let inside = Inside {
        settings,
        state: state.clone(),
        execute: Arc::new(Gateway::new(state.shared.clone(), dialers)),
        listener,
        end: ends,
        grace: grace(config.gateway.drain),
    };
    let (opened, opening) = oneshot::channel();
    let (over, ended) = oneshot::channel();
    std::thread::Builder::new().name("batch".into()).spawn(move || {
        thread(inside, options, opened);
        // Whoever waits for it may be gone.
        let _ = over.send(());
    })?;
    opening.await.map_err(|_| "files and batches did not start")??;
    let within = Within::new("evenkeel-batch", PATHS, max_body, Arc::new(dialer));
    Ok(Some(Batches { end, ended, within }))
}

/// Lines may take nearly as long as clients' answers: what is cut off is executed again.
fn grace(drain: Duration) -> Duration {
    drain.saturating_sub(Duration::from_secs(2)).max(drain / 2)
}

impl Batches {
    /// The API as a service of this process.
    pub(super) fn within(&self) -> Within {
        self.within.clone()
    }

    /// Ends the API and closes the store. What does not end in time is left: every commit
    /// is on disk already.
    pub(super) async fn end(self, within: Duration) {
        // It may have ended by itself.
        let _ = self.end.send(());
        if tokio::time::timeout(within, self.ended).await.is_err() {
            tracing::warn!("the store was not closed in time");
        }
    }
}

type Opened = oneshot::Sender<Result<(), String>>;

fn thread(inside: Inside, options: Options, opened: Opened) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // Errors are told by whoever waits to hear of the start.
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(opened.send(Err(error.to_string()))),
    };
    runtime.block_on(async {
        match Store::open(options).await {
            Err(error) => drop(opened.send(Err(format!("batch: {error}")))),
            Ok(store) => {
                let _ = opened.send(Ok(()));
                run(inside, Arc::new(store)).await;
            }
        }
    });
    // Not waited for: a read of the disk may hang.
    runtime.shutdown_background();
}

async fn run(inside: Inside, store: Arc<Store>) {
    let Inside { settings, state, execute, listener, end, grace } = inside;
    let max = settings.max_bytes;
    let headers = state.shared.settings.limits.headers;
    let parts = Parts::new(store.clone(), execute, settings);
    let (busy, people) = watch::channel(true);
    tokio::spawn(busy::watch(state.clone(), busy));
    let runner = Runner::spawn(parts.clone(), holder(), people);
    let api = tokio::spawn(serve::api(listener, parts, headers, end));
    let mut draining = state.shared.draining.subscribe();
    tokio::select! {
        _ = draining.wait_for(|draining| *draining) => {}
        () = count(&store, &runner, max, &state) => {}
    }
    // The API answers on while the last lines end.
    runner.stop(grace).await;
    if let Err(error) = api.await {
        tracing::error!(%error, "the API of files and batches broke");
    }
    if let Some(store) = Arc::into_inner(store) {
        store.close().await;
    }
}

/// Looks what there is, for metrics and status, again and again.
async fn count(store: &Store, runner: &Runner, max: u64, state: &GatewayState) {
    let mut tick = tokio::time::interval(COUNT);
    loop {
        tick.tick().await;
        // Whoever asks for anything hears why the store cannot be read.
        let Ok(used) = store.used().await else { continue };
        let stats = runner.stats();
        let batches = BatchStatus::ALL.into_iter().zip(used.batches);
        state.set_batch(BatchView {
            executes_here: stats.leads,
            batches: batches.map(|(status, count)| (status.label().into(), count)).collect(),
            lines_under_way: stats.under_way as u64,
            lines_answered: stats.answered.saturating_sub(stats.failed),
            lines_failed: stats.failed,
            calls_refused: stats.refused,
            calls_faulted: stats.faulted,
            files: used.files,
            store_bytes: used.bytes,
            store_limit_bytes: max,
        });
    }
}
