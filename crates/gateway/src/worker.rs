//! One worker: a thread with a single-threaded runtime, its own listeners and its own
//! connections to replicas. Workers share only atomics.

use crate::admit::concurrency;
use crate::background::Background;
use crate::listen::{self, Listener};
use crate::shared::Shared;
use crate::upstream::Pools;
use evenkeel_domain::{clock, rng};
use evenkeel_wire::within;
use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// What one thread serves with.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pools: Pools,
    pub(crate) rng: RefCell<fastrand::Rng>,
    pub(crate) background: Rc<Background>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            pools: Pools::default(),
            rng: RefCell::new(rng::from_os()),
            background: Rc::default(),
        }
    }
}

/// Starts a worker on a thread of its own. It ends when the gateway has drained. `within`
/// brings what this process asks of itself.
///
/// # Errors
/// When the thread or its runtime cannot be started.
pub fn start(
    index: usize,
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    within: within::Listener,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        let worker = Rc::new(Worker::new(shared));
        runtime.block_on(async {
            if index == 0 {
                tokio::task::spawn_local(concurrency::run(worker.shared.clone()));
            }
            run(worker, listeners, within).await
        })
    })
}

async fn run(
    worker: Rc<Worker>,
    listeners: Vec<Listener>,
    within: within::Listener,
) -> io::Result<()> {
    tokio::task::spawn_local(sweep(worker.clone()));
    let mut serving = Vec::new();
    for listener in listeners {
        serving.push(tokio::task::spawn_local(listen::serve(worker.clone(), listener)));
    }
    let internal = tokio::task::spawn_local(listen::serve_within(worker.clone(), within));
    for task in serving {
        // A listener's task ends when it has drained; a panic in it ends the worker, and
        // the keeper starts the gateway anew.
        task.await.map_err(io::Error::other)??;
    }
    internal.await.map_err(io::Error::other)?;
    // Clients of other workers may wait for what this one has begun.
    worker.background.idle().await;
    Ok(())
}

async fn sweep(worker: Rc<Worker>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        let table = worker.shared.table.load();
        let known: HashSet<u64> = table
            .entries()
            .iter()
            .flat_map(|e| e.service.pool.members().iter().map(|r| r.id.key).collect::<Vec<_>>())
            .collect();
        worker.shared.caches.retain(|service| {
            let mut entries = table.entries().iter().map(|e| &e.service.settings);
            entries.any(|s| s.name == service && s.answers.cache.is_some())
        });
        worker.pools.sweep(|key| known.contains(&key), clock::now());
    }
}
