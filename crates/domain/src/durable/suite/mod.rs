//! What every store must do, as tests. An implementation calls [`run`] with a way to make
//! an empty one.

mod files;
mod lease;
mod work;

use super::{
    Answer, Batch, BatchId, BatchStore, Fence, FileAbout, FileId, Limits, LineResult, Millis,
    NewBatch, Owner, Tokens,
};
use std::future::Future;
use std::sync::Arc;

/// When everything happens, unless a test says otherwise.
const NOW: Millis = 1_800_000_000_000;
/// How long a lease is taken for.
const TTL: Millis = 10_000;

/// Runs everything, each test on a store of its own.
///
/// # Panics
/// When the store does not do what it must; the message says what.
pub async fn run<F, Made>(make: F)
where
    F: Fn(Limits) -> Made,
    Made: Future<Output = Arc<dyn BatchStore>>,
{
    let roomy = Limits { max_bytes: 1 << 30, max_files: 100, max_open_batches: 100 };
    let fresh = || make(roomy);
    files::are_read_back_piece_by_piece(&Suite(fresh().await)).await;
    files::are_seen_by_their_owner_once_they_are_whole(&Suite(fresh().await)).await;
    files::are_listed_in_order(&Suite(fresh().await)).await;
    files::go_when_deleted_or_expired(&Suite(fresh().await)).await;
    files::that_are_given_up_leave_nothing(&Suite(fresh().await)).await;
    let tight = Limits { max_bytes: 100_000, max_files: 2, max_open_batches: 1 };
    files::stay_within_the_limits(&Suite(make(tight).await), tight).await;
    lease::has_one_holder(&Suite(fresh().await)).await;
    lease::that_is_lost_stops_every_write(&Suite(fresh().await)).await;
    work::a_batch_is_made_of_a_file_of_its_owner(&Suite(fresh().await)).await;
    work::a_batch_runs_to_its_end(&Suite(fresh().await)).await;
    work::a_line_is_answered_once(&Suite(fresh().await)).await;
    work::answers_come_in_order_and_in_parts(&Suite(fresh().await)).await;
    work::no_status_is_reached_from_a_wrong_one(&Suite(fresh().await)).await;
    work::a_batch_is_cancelled_by_its_owner(&Suite(fresh().await)).await;
    work::an_input_is_kept_while_it_is_needed(&Suite(fresh().await)).await;
    work::what_is_over_is_swept_up(&Suite(fresh().await)).await;
    work::open_batches_are_bounded(&Suite(make(tight).await)).await;
    work::answers_may_use_as_much_again(&Suite(make(tight).await), tight).await;
}

/// A store with what tests do to it.
struct Suite(Arc<dyn BatchStore>);

impl std::ops::Deref for Suite {
    type Target = dyn BatchStore;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

fn owner(name: &str) -> Owner {
    Owner::new(name).expect("a good name")
}

fn about(purpose: &str, expires_at: Option<Millis>) -> FileAbout {
    FileAbout { filename: "lines.jsonl".into(), purpose: purpose.into(), expires_at }
}

fn answer(index: u32, status: u16, body: &str) -> Answer {
    let result = LineResult::Response { status, body: body.as_bytes().to_vec() };
    let tokens = Tokens { input: 2, cached: 1, output: 3, reasoning: 1 };
    Answer { index, request_id: format!("req-{index}"), result, tokens }
}

impl Suite {
    /// A whole file.
    async fn put(&self, owner: &Owner, content: &[u8], about: &FileAbout) -> FileId {
        let id = self.begin_file(owner, None, NOW).await.expect("a file is begun");
        self.append_file(&id, 0, content, NOW).await.expect("it is added to");
        self.commit_file(&id, about, NOW).await.expect("it is made").id
    }

    /// A file that is an output, not yet whole.
    async fn output(&self, fence: &Fence, owner: &Owner, content: &[u8]) -> FileId {
        let id = self.begin_file(owner, Some(fence), NOW).await.expect("an output is begun");
        self.append_file(&id, 0, content, NOW).await.expect("it is added to");
        id
    }

    async fn read(&self, id: &FileId) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let part = self.read_file(id, all.len() as u64, 100_000).await.expect("it is read");
            if part.is_empty() {
                return all;
            }
            assert!(part.len() <= 100_000, "no more is read than was asked for");
            all.extend(part);
        }
    }

    fn order(owner: &Owner, input: &FileId) -> NewBatch {
        NewBatch {
            owner: owner.clone(),
            endpoint: "/v1/echo".into(),
            input: input.clone(),
            completion_window: "24h".into(),
            metadata: Some([("k".to_owned(), "v".to_owned())].into()),
            output_expires_after: Some(3_600_000),
            created_at: NOW,
            expires_at: NOW + 1000,
        }
    }

    /// A batch that is to be validated.
    async fn batch_of(&self, name: &str) -> Batch {
        let owner = owner(name);
        let input = self.put(&owner, b"{}\n{}\n{}\n", &about("batch", None)).await;
        self.create_batch(&Self::order(&owner, &input)).await.expect("a batch is made")
    }

    async fn lease(&self) -> Fence {
        let taken = self.acquire("one", TTL, NOW).await.expect("the lease can be asked for");
        taken.expect("the lease is free")
    }

    /// A batch of three lines that is under way.
    async fn started(&self, fence: &Fence) -> Batch {
        let batch = self.batch_of("a").await;
        self.start_batch(fence, &batch.id, 3, Some("m"), NOW + 1).await.expect("it starts");
        batch
    }

    async fn look(&self, batch: &Batch) -> Batch {
        self.batch(&batch.order.owner, &batch.id).await.expect("it is there")
    }

    async fn keep(&self, fence: &Fence, id: &BatchId, answers: &[Answer]) -> u32 {
        let answers: Vec<_> = answers.iter().map(|a| (id.clone(), a.clone())).collect();
        self.record(fence, &answers).await.expect("answers are kept")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::memory::MemoryStore;

    #[tokio::test]
    async fn the_store_in_memory_is_a_store() {
        run(|limits| async move { Arc::new(MemoryStore::new(limits)) as Arc<dyn BatchStore> })
            .await;
    }
}
