//! A request at work: its sequences, its slot and its pace.
//!
//! There is no task and no channel: whoever polls makes the next token, at the time it
//! is due. Dropping a run ends it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::app::App;
use crate::error::ApiError;
use crate::generate::{Finish, Params, Sequence};
use crate::slots::Held;
use crate::token::Id;

/// What is to be generated.
#[derive(Debug)]
pub(crate) struct Job {
    /// One or more prompts.
    pub(crate) prompts: Vec<Vec<Id>>,
    /// Answers to each prompt.
    pub(crate) n: usize,
    /// The same for all.
    pub(crate) params: Params,
}

/// A job that has its slot.
#[derive(Debug)]
pub(crate) struct Run {
    sequences: Vec<Sequence>,
    /// The sequence whose turn it is; each round gives every live one a token.
    turn: usize,
    live: usize,
    pacer: Pacer,
    held: Option<Held>,
    /// Tokens of all prompts.
    pub(crate) prompt_tokens: usize,
    /// Tokens drawn by all sequences.
    pub(crate) produced: usize,
    burst: u32,
}

/// One finished sequence.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) text: String,
    pub(crate) ids: Vec<Id>,
    pub(crate) finish: Option<Finish>,
    pub(crate) stop: Option<String>,
}

impl Run {
    /// Waits for a slot and starts.
    pub(crate) async fn start(app: &App, job: Job) -> Result<Self, ApiError> {
        let prompt_tokens = job.prompts.iter().map(Vec::len).sum();
        let held = app.slots.take(prompt_tokens).await?;
        let params = Arc::new(job.params);
        let sequences: Vec<_> = job
            .prompts
            .iter()
            .flat_map(|prompt| (0..job.n).map(move |number| (prompt, number as u64)))
            .map(|(prompt, number)| Sequence::new(&app.model, &params, prompt, number))
            .collect();
        Ok(Self {
            live: sequences.len(),
            turn: 0,
            sequences,
            pacer: Pacer::new(app.settings.prefill(prompt_tokens), app.settings.token_interval),
            held: Some(held),
            prompt_tokens,
            produced: 0,
            burst: 0,
        })
    }

    /// Makes the next token when it is due and returns the sequence that drew it, to be
    /// read before the next call; `None` once all have ended.
    pub(crate) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        /// Tokens made without a pause before others on this thread get their turn.
        const BURST: u32 = 64;
        if self.live == 0 {
            return Poll::Ready(None);
        }
        if self.turn == 0 && self.pacer.poll(cx).is_pending() {
            self.burst = 0;
            return Poll::Pending;
        }
        self.burst += 1;
        if self.burst > BURST {
            self.burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.step())
    }

    fn step(&mut self) -> Option<usize> {
        let at =
            (self.turn..self.sequences.len()).find(|&at| self.sequences[at].finish.is_none())?;
        let sequence = &mut self.sequences[at];
        sequence.step();
        self.produced += 1;
        let finish = sequence.finish;
        self.live -= usize::from(finish.is_some());
        if let Some(held) = &mut self.held {
            held.token();
        }
        if self.live == 0 {
            self.release(finish);
        }
        let more = self.sequences[at + 1..].iter().position(|next| next.finish.is_none());
        match more {
            Some(ahead) => self.turn = at + 1 + ahead,
            None => {
                self.turn = 0;
                self.pacer.round();
            }
        }
        Some(at)
    }

    fn release(&mut self, finish: Option<Finish>) {
        if let Some(mut held) = self.held.take() {
            held.finished(finish);
        }
    }

    /// How many sequences there are.
    pub(crate) fn choices(&self) -> usize {
        self.sequences.len()
    }

    /// Whether every sequence has ended.
    pub(crate) fn ended(&self) -> bool {
        self.live == 0
    }

    /// A sequence, as its last step left it.
    pub(crate) fn sequence(&self, at: usize) -> &Sequence {
        &self.sequences[at]
    }

    /// Runs to the end.
    pub(crate) async fn finish(mut self) -> (Vec<Done>, Self) {
        let mut done: Vec<Done> = self.sequences.iter().map(|_| Done::default()).collect();
        while let Some(at) = std::future::poll_fn(|cx| self.poll_step(cx)).await {
            let sequence = &self.sequences[at];
            done[at].text.push_str(&sequence.out.text);
            done[at].ids.extend_from_slice(&sequence.out.ids);
            done[at].finish = sequence.finish;
            done[at].stop = sequence.stop_string().map(str::to_owned);
        }
        (done, self)
    }
}

/// When tokens are due. Due times are absolute, so a late wake-up does not slow a run.
#[derive(Debug)]
struct Pacer {
    sleep: Option<Pin<Box<Sleep>>>,
    interval: Duration,
}

impl Pacer {
    /// A run that fell behind by this much was stopped, not late: it does not catch up
    /// in one burst.
    const BEHIND: Duration = Duration::from_millis(250);

    /// A year, where the clock cannot hold what was asked for.
    const NEVER: Duration = Duration::from_secs(31_536_000);

    fn new(first: Duration, interval: Duration) -> Self {
        let paced = !(first.is_zero() && interval.is_zero());
        let sleep = paced.then(|| Box::pin(tokio::time::sleep(first)));
        Self { sleep, interval }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().map_or(Poll::Ready(()), |sleep| sleep.as_mut().poll(cx))
    }

    fn round(&mut self) {
        if self.interval.is_zero() {
            self.sleep = None;
        }
        if let Some(sleep) = &mut self.sleep {
            let now = Instant::now();
            // An interval beyond the end of time is as good as a stop; it must not panic.
            let due = sleep.deadline().checked_add(self.interval).unwrap_or(now + Self::NEVER);
            let stopped = now.saturating_duration_since(due) > Self::BEHIND;
            sleep.as_mut().reset(if stopped { now } else { due });
        }
    }
}

/// Waits as long as reading a prompt takes.
pub(crate) async fn prefill(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}
