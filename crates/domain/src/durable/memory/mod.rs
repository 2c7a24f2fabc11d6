//! A store in memory: what tests run on, and the shortest way to say what a store does.
//! Nothing in it survives anything.

mod work;

use super::{
    Answer, Batch, BatchId, BatchStatus, BatchStore, Fence, File, FileAbout, FileId, FileQuery,
    FileStore, Limit, Limits, Millis, NewBatch, Owner, PIECE, Page, StoreError, StoreFuture, Sweep,
    Swept, Used,
};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Answers = BTreeMap<u32, Answer>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Coming { epoch: Option<u64>, touched: Millis },
    There,
    Gone,
}

#[derive(Debug)]
struct Kept {
    file: File,
    stage: Stage,
    content: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    files: BTreeMap<u64, Kept>,
    batches: BTreeMap<u64, (Batch, Answers)>,
    lease: Option<(Fence, Millis)>,
    epoch: u64,
    refusal: Option<StoreError>,
}

/// The store.
#[derive(Debug)]
pub struct MemoryStore {
    limits: Limits,
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// From now on content and answers are refused with that error, as by a disk that is
    /// full; `None`: no more.
    pub fn refuse(&self, with: Option<StoreError>) {
        self.state().refusal = with;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done<'a, T: Send + 'a>(result: Result<T, StoreError>) -> StoreFuture<'a, T> {
    Box::pin(std::future::ready(result))
}

impl State {
    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn kept(&mut self, id: &FileId) -> Result<&mut Kept, StoreError> {
        let found = self.files.values_mut().find(|kept| kept.file.id == *id);
        found.ok_or_else(|| StoreError::no_file(id))
    }

    fn visible(&mut self, owner: &Owner, id: &FileId, now: Millis) -> Result<File, StoreError> {
        let kept = self.kept(id)?;
        let seen = kept.seen_by(owner, now);
        seen.then(|| kept.file.clone()).ok_or_else(|| StoreError::no_file(id))
    }

    fn entry(&mut self, id: &BatchId) -> Result<&mut (Batch, Answers), StoreError> {
        let found = self.batches.values_mut().find(|(batch, _)| batch.id == *id);
        found.ok_or_else(|| StoreError::no_batch(id))
    }

    fn owned(&mut self, owner: &Owner, id: &BatchId) -> Result<&mut Batch, StoreError> {
        let (batch, _) = self.entry(id)?;
        (batch.order.owner == *owner).then_some(batch).ok_or_else(|| StoreError::no_batch(id))
    }

    fn guard(&self, fence: &Fence) -> Result<(), StoreError> {
        let holds = self.lease.as_ref().is_some_and(|(held, _)| held == fence);
        if holds { Ok(()) } else { Err(StoreError::Fenced) }
    }

    fn advance(
        &mut self,
        id: &BatchId,
        next: BatchStatus,
        now: Millis,
    ) -> Result<&mut Batch, StoreError> {
        let (batch, _) = self.entry(id)?;
        if !batch.status.may_become(next) {
            return Err(StoreError::conflict(id, batch.status));
        }
        batch.status = next;
        batch.times.note(next, now);
        Ok(batch)
    }

    fn open(&self) -> impl Iterator<Item = &Batch> {
        self.batches.values().map(|(batch, _)| batch).filter(|batch| !batch.status.is_over())
    }

    fn used(&self) -> Used {
        let content = self.files.values().map(|kept| kept.content.len() as u64).sum::<u64>();
        let answers = self.batches.values().flat_map(|(_, answers)| answers.values());
        Used {
            bytes: content + answers.map(|answer| answer.result.bytes()).sum::<u64>(),
            files: self.files.len() as u64,
            open_batches: self.open().count() as u64,
            batches: BatchStatus::ALL.map(|status| {
                self.batches.values().filter(|(batch, _)| batch.status == status).count() as u64
            }),
        }
    }

    fn place(
        &mut self,
        (id, about): &(FileId, FileAbout),
        now: Millis,
    ) -> Result<File, StoreError> {
        let kept = self.kept(id)?;
        if !matches!(kept.stage, Stage::Coming { .. }) {
            return Err(StoreError::no_file(id));
        }
        kept.stage = Stage::There;
        kept.file.about = about.clone();
        kept.file.created_at = now;
        Ok(kept.file.clone())
    }

    fn sweep(&mut self, what: Sweep, now: Millis) -> Swept {
        let epoch = self.epoch;
        let needed: Vec<FileId> = self.open().map(|batch| batch.order.input.clone()).collect();
        let mut left = what.rows as usize;
        let mut take = |dead: bool| {
            let taken = dead && left > 0;
            left -= usize::from(taken);
            taken
        };
        self.files.retain(|_, kept| {
            let dead = kept.is_dead(what, epoch, now) && !needed.contains(&kept.file.id);
            !take(dead)
        });
        for (_, answers) in self.batches.values_mut().filter(|(b, _)| b.status.is_over()) {
            answers.retain(|_, _| !take(true));
        }
        self.batches.retain(|_, (batch, answers)| {
            let old = batch.times.over().is_some_and(|at| at < what.batches_before);
            !take(old && answers.is_empty())
        });
        let rows = what.rows - u32::try_from(left).unwrap_or(u32::MAX);
        Swept { rows, more: left == 0 }
    }
}

impl Kept {
    fn seen_by(&self, owner: &Owner, now: Millis) -> bool {
        let live = self.file.about.expires_at.is_none_or(|at| at > now);
        self.stage == Stage::There && self.file.owner == *owner && live
    }

    fn is_dead(&self, what: Sweep, epoch: u64, now: Millis) -> bool {
        match self.stage {
            Stage::Gone => true,
            Stage::There => self.file.about.expires_at.is_some_and(|at| at <= now),
            Stage::Coming { epoch: Some(own), .. } => own < epoch,
            Stage::Coming { epoch: None, touched } => touched < what.uploads_before,
        }
    }
}

impl FileStore for MemoryStore {
    fn begin_file<'a>(
        &'a self,
        owner: &'a Owner,
        fence: Option<&'a Fence>,
        now: Millis,
    ) -> StoreFuture<'a, FileId> {
        let mut state = self.state();
        let used = state.used();
        let full = |limit, max| done(Err(StoreError::Full { limit, max }));
        match fence.map(|fence| state.guard(fence)) {
            Some(Err(fenced)) => return done(Err(fenced)),
            None if used.files >= self.limits.max_files => {
                return full(Limit::Files, self.limits.max_files);
            }
            None if used.bytes >= self.limits.max_bytes => {
                return full(Limit::Bytes, self.limits.max_bytes);
            }
            _ => {}
        }
        let seq = state.next();
        let id = FileId::new(format!("file-{seq}"));
        let about = FileAbout { filename: String::new(), purpose: String::new(), expires_at: None };
        let file = File { id: id.clone(), owner: owner.clone(), about, bytes: 0, created_at: now };
        let stage = Stage::Coming { epoch: fence.map(|fence| fence.epoch), touched: now };
        state.files.insert(seq, Kept { file, stage, content: Vec::new() });
        done(Ok(id))
    }

    fn append_file<'a>(
        &'a self,
        id: &'a FileId,
        offset: u64,
        data: &'a [u8],
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        let mut state = self.state();
        let room = self.limits.max_bytes.saturating_sub(state.used().bytes);
        let max = self.limits.max_bytes;
        if let Some(error) = state.refusal.clone() {
            return done(Err(error));
        }
        done(state.kept(id).and_then(|kept| {
            let Stage::Coming { epoch, .. } = kept.stage else {
                return Err(StoreError::no_file(id));
            };
            if offset != kept.content.len() as u64 || !kept.content.len().is_multiple_of(PIECE) {
                return Err(StoreError::Invalid(format!("{id} does not go on at {offset}")));
            }
            if epoch.is_none() && data.len() as u64 > room {
                return Err(StoreError::Full { limit: Limit::Bytes, max });
            }
            kept.content.extend_from_slice(data);
            kept.file.bytes = kept.content.len() as u64;
            kept.stage = Stage::Coming { epoch, touched: now };
            Ok(())
        }))
    }

    fn commit_file<'a>(
        &'a self,
        id: &'a FileId,
        about: &'a FileAbout,
        now: Millis,
    ) -> StoreFuture<'a, File> {
        done(self.state().place(&(id.clone(), about.clone()), now))
    }

    fn abandon_file<'a>(&'a self, id: &'a FileId) -> StoreFuture<'a, ()> {
        self.state()
            .files
            .retain(|_, kept| !(kept.file.id == *id && matches!(kept.stage, Stage::Coming { .. })));
        done(Ok(()))
    }

    fn file<'a>(&'a self, owner: &'a Owner, id: &'a FileId, now: Millis) -> StoreFuture<'a, File> {
        done(self.state().visible(owner, id, now))
    }

    fn files<'a>(
        &'a self,
        owner: &'a Owner,
        query: &'a FileQuery,
        now: Millis,
    ) -> StoreFuture<'a, Page<File>> {
        let state = self.state();
        let purpose =
            |kept: &Kept| query.purpose.as_ref().is_none_or(|p| *p == kept.file.about.purpose);
        let mut found: Vec<&Kept> =
            state.files.values().filter(|kept| kept.seen_by(owner, now)).collect();
        if !query.ascending {
            found.reverse();
        }
        let skip = match &query.after {
            None => 0,
            Some(after) => match found.iter().position(|kept| kept.file.id == *after) {
                Some(at) => at + 1,
                None => return done(Err(StoreError::no_file(after))),
            },
        };
        let rest = found.into_iter().skip(skip).filter(|kept| purpose(kept));
        let data = rest.take(query.limit + 1).map(|kept| kept.file.clone()).collect();
        done(Ok(Page::cut(data, query.limit)))
    }

    fn read_file<'a>(
        &'a self,
        id: &'a FileId,
        offset: u64,
        max: usize,
    ) -> StoreFuture<'a, Vec<u8>> {
        done(self.state().kept(id).map(|kept| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(kept.content.len());
            let to = from.saturating_add(max).min(kept.content.len());
            kept.content[from..to].to_vec()
        }))
    }

    fn delete_file<'a>(
        &'a self,
        owner: &'a Owner,
        id: &'a FileId,
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        let mut state = self.state();
        let seen = state.visible(owner, id, now);
        done(seen.and_then(|_| state.kept(id).map(|kept| kept.stage = Stage::Gone)))
    }
}

impl BatchStore for MemoryStore {
    fn create_batch<'a>(&'a self, order: &'a NewBatch) -> StoreFuture<'a, Batch> {
        let mut state = self.state();
        let input = state.visible(&order.owner, &order.input, order.created_at);
        if !input.is_ok_and(|file| file.about.purpose == "batch") {
            return done(Err(StoreError::no_file(&order.input)));
        }
        let max = self.limits.max_open_batches;
        if state.used().open_batches >= max {
            return done(Err(StoreError::Full { limit: Limit::OpenBatches, max }));
        }
        let seq = state.next();
        let batch = Batch::new(BatchId::new(format!("batch_{seq}")), order.clone());
        state.batches.insert(seq, (batch.clone(), Answers::new()));
        done(Ok(batch))
    }

    fn batch<'a>(&'a self, owner: &'a Owner, id: &'a BatchId) -> StoreFuture<'a, Batch> {
        done(self.state().owned(owner, id).cloned())
    }

    fn batches<'a>(
        &'a self,
        owner: &'a Owner,
        after: Option<&'a BatchId>,
        limit: usize,
    ) -> StoreFuture<'a, Page<Batch>> {
        let mut state = self.state();
        if let Some(Err(unknown)) = after.map(|after| state.owned(owner, after).map(|_| ())) {
            return done(Err(unknown));
        }
        let mine = state.batches.values().rev().map(|(batch, _)| batch);
        let mine = mine.filter(|batch| batch.order.owner == *owner);
        let rest = mine.skip_while(|batch| after.is_some_and(|after| batch.id != *after));
        let skip = usize::from(after.is_some());
        done(Ok(Page::cut(rest.skip(skip).take(limit + 1).cloned().collect(), limit)))
    }

    fn cancel_batch<'a>(
        &'a self,
        owner: &'a Owner,
        id: &'a BatchId,
        now: Millis,
    ) -> StoreFuture<'a, Batch> {
        let mut state = self.state();
        let current = state.owned(owner, id).cloned();
        done(current.and_then(|batch| match batch.status {
            BatchStatus::Cancelling => Ok(batch),
            _ => state.advance(id, BatchStatus::Cancelling, now).cloned(),
        }))
    }

    fn used(&self) -> StoreFuture<'_, Used> {
        done(Ok(self.state().used()))
    }
}
