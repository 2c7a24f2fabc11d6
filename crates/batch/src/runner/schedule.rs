//! Who gets what: chores for batches, lines for slots, answers for commits.

use super::chore::{self, Chore};
use super::line::{self, Task};
use super::worker::{Errand, Work};
use crate::plan::{Goal, goal, pick};
use evenkeel_domain::durable::{Batch, BatchId, End, Owner};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Chores at once: each holds some 6 MiB of memory.
const CHORES: usize = 4;
/// When nothing is known to happen.
const FAR: Duration = Duration::from_secs(3600);
/// Answers of one commit: a transaction of some milliseconds.
const TOGETHER: usize = 512;

impl Work {
    /// Brings every batch a step nearer to where it should be.
    pub(super) fn plan(&mut self, now: Instant) {
        let wall = self.parts.now();
        let grace = super::millis(self.parts.settings.cancel_grace);
        let mut waiting = Vec::new();
        for batch in self.open.clone() {
            let held = self.held.get(&batch.id).is_some_and(|until| *until > now);
            if held || self.at_work.contains_key(&batch.id) {
                continue;
            }
            match goal(&batch, wall, grace) {
                Goal::Validate => self.begin(batch, Chore::Validate),
                Goal::Answer => match self.active.get(&batch.id) {
                    None => waiting.push(batch),
                    Some(active) if active.progress.is_complete() => {
                        self.begin(batch, Chore::End(End::Completed));
                    }
                    Some(_) => {}
                },
                Goal::End(end, at) => self.end(batch, end, wall >= at),
            }
        }
        self.load(waiting);
    }

    fn begin(&mut self, batch: Arc<Batch>, chore: Chore) {
        if self.chores.len() >= CHORES {
            return;
        }
        if chore != Chore::Load {
            self.active.remove(&batch.id);
            self.turns.retain(|id| *id != batch.id);
        }
        self.at_work.insert(batch.id.clone(), chore);
        let work = chore::run(self.parts.clone(), self.fence.clone(), batch, chore);
        self.chores.spawn(work);
    }

    /// Ends a batch once its lines have, which when it is `late` is at once.
    fn end(&mut self, batch: Arc<Batch>, end: End, late: bool) {
        if let Some(active) = self.active.get_mut(&batch.id) {
            active.ending = true;
            if late {
                active.halt.send_replace(true);
            }
            if late && self.paused_until.is_some() {
                // The store takes no answers, and there is no more time to wait for it.
                self.waiting.retain(|(id, answer)| {
                    let mine = *id == batch.id;
                    if mine {
                        active.progress.put_back(answer.index);
                    }
                    !mine
                });
            }
            if !active.progress.is_quiet() {
                return;
            }
        }
        self.begin(batch, Chore::End(end));
    }

    /// Loads batches while there is room for active ones.
    fn load(&mut self, mut waiting: Vec<Arc<Batch>>) {
        let loading = self.at_work.values().filter(|chore| **chore == Chore::Load).count();
        let room = self.parts.settings.active_batches.saturating_sub(self.active.len() + loading);
        let mut owners: Vec<Owner> = self.active.values().map(|a| a.owner.clone()).collect();
        for _ in 0..room {
            let names: Vec<&Owner> = waiting.iter().map(|batch| &batch.order.owner).collect();
            let Some(next) = pick(&names, &owners.iter().collect::<Vec<_>>()) else { return };
            let batch = waiting.remove(next);
            owners.push(batch.order.owner.clone());
            self.begin(batch, Chore::Load);
        }
    }

    /// Sends lines, one of each batch in turn, while there are slots.
    pub(super) fn send(&mut self, now: Instant) {
        let limit = *self.signals.limit.borrow();
        if *self.signals.busy.borrow() || self.paused_until.is_some() {
            return;
        }
        let mut refused = 0;
        while refused < self.turns.len() {
            // A slot is free again once its answer is kept: so what waits is bounded too.
            if self.active.values().map(|active| active.progress.under_way()).sum::<usize>()
                >= limit
            {
                return;
            }
            let Some(id) = self.turns.pop_front() else { return };
            refused = if self.send_one(&id, now) { 0 } else { refused + 1 };
            self.turns.push_back(id);
        }
    }

    fn send_one(&mut self, id: &BatchId, now: Instant) -> bool {
        let Some(active) = self.active.get_mut(id).filter(|active| !active.ending) else {
            return false;
        };
        let Some(index) = active.progress.take(now) else { return false };
        let Some(place) = active.places.get(index as usize).copied() else { return false };
        let left = active.batch.times.expires.saturating_sub(self.parts.now());
        let task = Task {
            batch: id.clone(),
            owner: active.owner.clone(),
            path: active.path.clone(),
            input: active.batch.order.input.clone(),
            index,
            place,
            within: Duration::from_millis(left),
            halt: active.halt.subscribe(),
        };
        self.lines.spawn(line::send(self.parts.clone(), task));
        true
    }

    /// Keeps what answers there are, one transaction after another.
    pub(super) fn keep(&mut self) {
        if self.waiting.is_empty() || !self.commits.is_empty() || self.paused_until.is_some() {
            return;
        }
        let rest = self.waiting.split_off(self.waiting.len().min(TOGETHER));
        let kept = std::mem::replace(&mut self.waiting, rest);
        let (store, fence) = (self.parts.store.clone(), self.fence.clone());
        self.commits.spawn(async move {
            let result = store.record(&fence, &kept).await;
            (kept, result)
        });
    }

    /// Cleans up, when it is time.
    pub(super) fn sweep(&mut self, now: Instant) {
        if now < self.sweep_at || self.paused_until.is_some() {
            return;
        }
        // Until it is done; then its end says when the next is due.
        self.sweep_at = now + FAR;
        let (parts, fence) = (self.parts.clone(), self.fence.clone());
        self.errands.spawn(async move { Errand::Swept(chore::sweep(parts, fence).await) });
    }

    /// When time alone changes what can be done.
    pub(super) fn next_time(&self, now: Instant, stop: Option<Instant>) -> Instant {
        let wall = self.parts.now();
        let grace = super::millis(self.parts.settings.cancel_grace);
        let ends = self.open.iter().map(|batch| match goal(batch, wall, grace) {
            Goal::End(_, at) => at,
            Goal::Validate | Goal::Answer => batch.times.expires,
        });
        let ends = ends.filter(|at| *at > wall).map(|at| now + Duration::from_millis(at - wall));
        let holds = self.active.values().filter_map(|active| active.progress.held_until());
        let own = [self.renew_at, self.look_at, self.sweep_at].into_iter();
        let others = self.held.values().copied().chain(self.paused_until).chain(stop);
        // What is due already waits for something else: an event, or the end of a pause.
        let all = ends.chain(holds).chain(others).chain(own).filter(|at| *at > now);
        all.min().unwrap_or(now + FAR)
    }

    pub(super) fn count(&self) {
        self.counters.open.store(self.open.len(), Ordering::Relaxed);
        self.counters.active.store(self.active.len(), Ordering::Relaxed);
        self.counters.under_way.store(self.lines.len(), Ordering::Relaxed);
    }
}
