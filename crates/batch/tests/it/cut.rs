//! Dies at every step there is: before each call to the store, and after it was carried out
//! but before that was heard of. Whoever comes next must bring the batch to a good end.

use crate::support::{House, Replicas, ids, lines, settings};
use evenkeel_batch::{Runner, holder};
use evenkeel_domain::durable::memory::MemoryStore;
use evenkeel_domain::durable::{
    Answer, Batch, BatchId, BatchStore, Fence, File, FileAbout, FileId, FileQuery, FileStore,
    Finish, InputError, Millis, NewBatch, Owner, Page, StoreFuture, Sweep, Swept, Used, WorkStore,
};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const SECOND: Duration = Duration::from_secs(1);
const LINES: usize = 9;

/// A store that is heard of no more from the call on that `left` counts down to.
struct Cut {
    inner: Arc<MemoryStore>,
    left: AtomicI64,
    /// Whether the last call is carried out, though nobody hears of it.
    carried_out: bool,
    dead: Notify,
}

impl Cut {
    fn step<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce() -> StoreFuture<'a, T>,
    ) -> StoreFuture<'a, T> {
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        if left > 0 {
            return call();
        }
        if left == 0 && self.carried_out {
            drop(call());
        }
        self.dead.notify_one();
        Box::pin(std::future::pending())
    }
}

macro_rules! pass {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $out:ty;)*) => {$(
        fn $name<'a>(&'a self, $($arg: $kind),*) -> StoreFuture<'a, $out> {
            self.step(|| self.inner.$name($($arg),*))
        }
    )*};
}

impl FileStore for Cut {
    pass! {
        begin_file(owner: &'a Owner, fence: Option<&'a Fence>, now: Millis) -> FileId;
        append_file(id: &'a FileId, offset: u64, data: &'a [u8], now: Millis) -> ();
        commit_file(id: &'a FileId, about: &'a FileAbout, now: Millis) -> File;
        abandon_file(id: &'a FileId) -> ();
        file(owner: &'a Owner, id: &'a FileId, now: Millis) -> File;
        files(owner: &'a Owner, query: &'a FileQuery, now: Millis) -> Page<File>;
        read_file(id: &'a FileId, offset: u64, max: usize) -> Vec<u8>;
        delete_file(owner: &'a Owner, id: &'a FileId, now: Millis) -> ();
    }
}

impl WorkStore for Cut {
    pass! {
        acquire(holder: &'a str, ttl: Millis, now: Millis) -> Option<Fence>;
        renew(fence: &'a Fence, ttl: Millis, now: Millis) -> ();
        release(fence: &'a Fence) -> ();
        open_batches() -> Vec<Batch>;
        start_batch(
            fence: &'a Fence, id: &'a BatchId, total: u32, model: Option<&'a str>, now: Millis
        ) -> ();
        fail_batch(fence: &'a Fence, id: &'a BatchId, errors: &'a [InputError], now: Millis) -> ();
        record(fence: &'a Fence, answers: &'a [(BatchId, Answer)]) -> u32;
        answered(id: &'a BatchId) -> Vec<u32>;
        answers(id: &'a BatchId, from: u32, max_bytes: usize) -> Vec<Answer>;
        finalize_batch(fence: &'a Fence, id: &'a BatchId, now: Millis) -> ();
        finish_batch(fence: &'a Fence, id: &'a BatchId, finish: &'a Finish, now: Millis) -> ();
        sweep(fence: &'a Fence, what: Sweep, now: Millis) -> Swept;
    }
}

impl BatchStore for Cut {
    pass! {
        create_batch(order: &'a NewBatch) -> Batch;
        batch(owner: &'a Owner, id: &'a BatchId) -> Batch;
        batches(owner: &'a Owner, after: Option<&'a BatchId>, limit: usize) -> Page<Batch>;
        cancel_batch(owner: &'a Owner, id: &'a BatchId, now: Millis) -> Batch;
        used() -> Used;
    }
}

/// How a batch ends when nothing goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Completed,
    Cancelled,
    Expired,
}

/// One life cut short at step `at`, and what the next makes of it. Whether it was cut.
async fn cut_at(fate: Fate, at: i64, carried_out: bool) -> bool {
    let mut settings = settings();
    settings.cancel_grace = SECOND;
    if fate == Fate::Expired {
        settings.window = SECOND * 5 / 2;
    }
    let house = House::new(Replicas::echo(SECOND), settings);
    let id = house.order(&lines(LINES)).await;
    let left = AtomicI64::new(at);
    let cut = Arc::new(Cut { inner: house.store.clone(), left, carried_out, dead: Notify::new() });
    let mut parts = house.parts.clone();
    parts.store = cut.clone();
    let first = Runner::spawn(parts, holder(), house.busy.subscribe());
    let over = async {
        tokio::time::sleep(SECOND * 3 / 2).await;
        if fate == Fate::Cancelled {
            house.call("a", "POST", &format!("/v1/batches/{id}/cancel"), None).await;
        }
        tokio::time::sleep(10 * SECOND).await;
    };
    let died = tokio::select! {
        () = cut.dead.notified() => true,
        () = over => false,
    };
    drop(first);
    if fate == Fate::Cancelled && died {
        // Unless it had ended or was cancelled already, its owner does so now.
        house.call("a", "POST", &format!("/v1/batches/{id}/cancel"), None).await;
    }
    let second = house.runner();
    let batch = end_of(&house, &id).await;
    check(&house, &batch, fate).await;
    second.stop(SECOND).await;
    died
}

async fn end_of(house: &House, id: &str) -> Value {
    for _ in 0..1000 {
        let batch = house.batch(id).await;
        let status = batch["status"].as_str().unwrap();
        if ["completed", "cancelled", "expired", "failed"].contains(&status) {
            return batch;
        }
        tokio::time::sleep(SECOND / 10).await;
    }
    panic!("it never ends: {}", house.batch(id).await);
}

async fn check(house: &House, batch: &Value, fate: Fate) {
    let status = batch["status"].as_str().unwrap();
    match fate {
        Fate::Completed => assert_eq!(status, "completed"),
        Fate::Cancelled => assert!(["completed", "cancelled"].contains(&status), "{status}"),
        Fate::Expired => assert_eq!(status, "expired"),
    }
    let counts = &batch["request_counts"];
    if status == "cancelled" && counts["total"] == 0 {
        return;
    }
    let (good, bad) =
        (house.read(&batch["output_file_id"]).await, house.read(&batch["error_file_id"]).await);
    let mut all: Vec<&str> = ids(&good).into_iter().chain(ids(&bad)).collect();
    all.sort_unstable();
    let expected: Vec<String> = (0..LINES).map(|n| n.to_string()).collect();
    assert_eq!(all, expected, "each line once: {batch}");
    assert_eq!((&counts["completed"], &counts["failed"]), (&good.len().into(), &bad.len().into()));
}

async fn cut_everywhere(fate: Fate) {
    for carried_out in [false, true] {
        let mut at = 0;
        while cut_at(fate, at, carried_out).await {
            at += 1;
        }
        println!("{fate:?}: cut at {at} steps");
        assert!(at > 15, "there are more steps than {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_completes_wherever_it_was_cut() {
    cut_everywhere(Fate::Completed).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_cancelled_wherever_it_was_cut() {
    cut_everywhere(Fate::Cancelled).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_expires_wherever_it_was_cut() {
    cut_everywhere(Fate::Expired).await;
}
