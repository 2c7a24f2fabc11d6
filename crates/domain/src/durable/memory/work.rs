//! What the holder of the lease does.

use super::{MemoryStore, done};
use crate::durable::{
    Answer, Batch, BatchId, BatchStatus, Counts, Fence, Finish, InputError, Limit, Millis,
    StoreError, StoreFuture, Sweep, Swept, WorkStore,
};

impl WorkStore for MemoryStore {
    fn acquire<'a>(
        &'a self,
        holder: &'a str,
        ttl: Millis,
        now: Millis,
    ) -> StoreFuture<'a, Option<Fence>> {
        let mut state = self.state();
        let holds = now + 1..=now.saturating_add(ttl.saturating_mul(2));
        if state.lease.as_ref().is_some_and(|(_, until)| holds.contains(until)) {
            return done(Ok(None));
        }
        state.epoch += 1;
        let fence = Fence { holder: holder.to_owned(), epoch: state.epoch };
        state.lease = Some((fence.clone(), now + ttl));
        done(Ok(Some(fence)))
    }

    fn renew<'a>(&'a self, fence: &'a Fence, ttl: Millis, now: Millis) -> StoreFuture<'a, ()> {
        let mut state = self.state();
        let held = state.guard(fence);
        done(held.map(|()| state.lease = Some((fence.clone(), now + ttl))))
    }

    fn release<'a>(&'a self, fence: &'a Fence) -> StoreFuture<'a, ()> {
        let mut state = self.state();
        let held = state.guard(fence);
        done(held.map(|()| state.lease = None))
    }

    fn open_batches(&self) -> StoreFuture<'_, Vec<Batch>> {
        done(Ok(self.state().open().cloned().collect()))
    }

    fn start_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        total: u32,
        model: Option<&'a str>,
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        let mut state = self.state();
        let held = state.guard(fence);
        done(held.and_then(|()| state.advance(id, BatchStatus::InProgress, now)).map(|batch| {
            batch.counts.total = total;
            batch.model = model.map(str::to_owned);
        }))
    }

    fn fail_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        errors: &'a [InputError],
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        let mut state = self.state();
        let held = state.guard(fence);
        done(
            held.and_then(|()| state.advance(id, BatchStatus::Failed, now))
                .map(|batch| batch.errors = errors.to_vec()),
        )
    }

    fn record<'a>(
        &'a self,
        fence: &'a Fence,
        answers: &'a [(BatchId, Answer)],
    ) -> StoreFuture<'a, u32> {
        let mut state = self.state();
        if let Err(fenced) = state.guard(fence) {
            return done(Err(fenced));
        }
        if let Some(error) = state.refusal.clone() {
            return done(Err(error));
        }
        if state.used().bytes >= self.limits.max_bytes.saturating_mul(2) {
            return done(Err(StoreError::Full { limit: Limit::Bytes, max: self.limits.max_bytes }));
        }
        let mut kept = 0;
        for (id, answer) in answers {
            let Ok((batch, there)) = state.entry(id) else { continue };
            let open = matches!(batch.status, BatchStatus::InProgress | BatchStatus::Cancelling);
            if open && !there.contains_key(&answer.index) {
                kept += 1;
                let Counts { completed, failed, .. } = &mut batch.counts;
                *(if answer.result.is_good() { completed } else { failed }) += 1;
                batch.tokens = batch.tokens.plus(answer.tokens);
                there.insert(answer.index, answer.clone());
            }
        }
        done(Ok(kept))
    }

    fn answered<'a>(&'a self, id: &'a BatchId) -> StoreFuture<'a, Vec<u32>> {
        done(self.state().entry(id).map(|(_, answers)| answers.keys().copied().collect()))
    }

    fn answers<'a>(
        &'a self,
        id: &'a BatchId,
        from: u32,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Answer>> {
        done(self.state().entry(id).map(|(_, answers)| {
            let mut bytes = 0;
            let rest = answers.range(from..).map(|(_, answer)| answer);
            rest.take_while(|answer| {
                let room = bytes < max_bytes as u64;
                bytes += answer.result.bytes().max(1);
                room
            })
            .cloned()
            .collect()
        }))
    }

    fn finalize_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        let mut state = self.state();
        let held = state.guard(fence);
        done(held.and_then(|()| state.advance(id, BatchStatus::Finalizing, now)).map(|_| ()))
    }

    fn finish_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        finish: &'a Finish,
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        let mut state = self.state();
        let held = state.guard(fence);
        done(held.and_then(|()| {
            state.advance(id, finish.end.status(), now)?;
            for file in finish.output.iter().chain(&finish.errors) {
                state.place(file, now)?;
            }
            let (batch, _) = state.entry(id)?;
            batch.output_file = finish.output.as_ref().map(|(id, _)| id.clone());
            batch.error_file = finish.errors.as_ref().map(|(id, _)| id.clone());
            batch.counts.failed += finish.unanswered;
            Ok(())
        }))
    }

    fn sweep<'a>(&'a self, fence: &'a Fence, what: Sweep, now: Millis) -> StoreFuture<'a, Swept> {
        let mut state = self.state();
        let held = state.guard(fence);
        done(held.map(|()| state.sweep(what, now)))
    }
}
