//! One replica's stream, read event by event and written into the ledger.

use super::ask::Ask;
use super::endless;
use super::endless::Excess;
use super::events::{Block, Blocks, Splitter};
use super::fit::{Fit, Misfit, Onset};
use super::ledger::Ledger;
use super::notes::{self, ErrorEvent, Notes, Pattern};
use crate::attempt::guard::AttemptGuard;
use crate::body::BodyError;
use crate::shared::Reserved;
use crate::upstream::AnswerBody;
use bytes::{Bytes, BytesMut};
use evenkeel_domain::outcome::{Outcome, ReplicaFault};
use hyper::body::Frame;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Why a replica's stream cannot go on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub(crate) outcome: Outcome,
    pub(crate) text: String,
    /// Nothing is wrong with the replica: it gives another answer than the one begun.
    pub(crate) diverged: bool,
}

impl Fault {
    fn of(fault: ReplicaFault, text: impl Into<String>) -> Self {
        Self { outcome: Outcome::ReplicaFault(fault), text: text.into(), diverged: false }
    }

    fn diverged(text: String) -> Self {
        Self { outcome: Outcome::Ok, text, diverged: true }
    }
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Whole events for the client; empty when what came brings nothing new.
    Events {
        bytes: Bytes,
        /// The answer got longer.
        progress: bool,
        /// A successor's event is among them, and the ledger counts it as the client's.
        adopted: bool,
    },
    /// The stream's last event has been given.
    End,
    Fault(Fault),
}

/// A stream under way.
pub(crate) struct Live {
    pub(crate) ask: Rc<Ask>,
    pub(crate) ledger: Rc<RefCell<Ledger>>,
    pub(crate) guard: AttemptGuard,
    /// For a successor: what fits its events to what the client has.
    fit: Option<Fit>,
    /// Ids of a successor that came before its first text.
    early_ids: Vec<u32>,
    /// Events of a successor of which it is not clear yet whether they go on.
    unclear: Vec<(String, String)>,
    /// A successor whose events have gone to the client.
    adopted: bool,
    body: AnswerBody,
    splitter: Splitter,
    pattern: Pattern,
    /// For what is held back of an event.
    memory: Reserved,
    /// Found behind events that are good and go first.
    fault: Option<Fault>,
    /// What came beyond the limit of tokens.
    excess: Excess,
    /// The answer went on past its limit: it was ended here, and its replica is at fault.
    pub(crate) endless: bool,
    /// The client is told that its request is at fault, by the replica's own event.
    pub(crate) client_fault: bool,
    ended: bool,
}

impl Live {
    pub(crate) fn new(
        ask: Rc<Ask>,
        ledger: Rc<RefCell<Ledger>>,
        guard: AttemptGuard,
        fit: Option<Fit>,
        body: AnswerBody,
        memory: Reserved,
    ) -> Self {
        Self {
            ask,
            ledger,
            guard,
            fit,
            early_ids: Vec::new(),
            unclear: Vec::new(),
            adopted: false,
            body,
            splitter: Splitter::default(),
            pattern: Pattern::default(),
            memory,
            fault: None,
            excess: Excess::default(),
            endless: false,
            client_fault: false,
            ended: false,
        }
    }

    pub(crate) fn rung(&self) -> Option<super::rung::Rung> {
        self.fit.as_ref().map(Fit::rung)
    }

    /// Whether the stream's last event has been given.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Reads what is left behind the last event, so that the connection can be used again.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match ready!(self.body.poll_frame(cx)) {
                Some(Ok(_)) => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Next::Fault(fault));
        }
        if self.ended {
            return Poll::Ready(Next::End);
        }
        let frame = ready!(self.body.poll_frame(cx));
        Poll::Ready(self.took(frame))
    }

    fn took(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) -> Next {
        let whole = match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.splitter.take(data),
                Err(_trailers) => Ok(Bytes::new()),
            },
            Some(Err(error)) => {
                return self.closed(&format!("the replica's answer broke off: {error}"));
            }
            None if self.splitter.held() > 0 => {
                let rest = self.splitter.rest();
                return self.last_words(&rest);
            }
            None => return self.closed("the replica's answer ended without a finish reason"),
        };
        match whole {
            Ok(_) if !self.memory.grow_to(self.splitter.held() as u64) => Next::Fault(Fault::of(
                ReplicaFault::Garbage,
                "an event is too long for the memory that is left",
            )),
            Ok(whole) => self.digest(whole),
            Err(_) => Next::Fault(Fault::of(ReplicaFault::Garbage, "an event is too long")),
        }
    }

    /// An event whose blank line is missing counts when it can be read: some servers end
    /// so. A broken one is what a cut leaves.
    fn last_words(&mut self, rest: &Bytes) -> Next {
        let cut = "the replica's answer ended in the middle of an event";
        let mut joined = BytesMut::from(&rest[..]);
        joined.extend_from_slice(b"\n\n");
        match self.digest(joined.freeze()) {
            Next::Fault(_) => self.closed(cut),
            events => {
                self.fault = self.fault.take().map(|_| Fault::of(ReplicaFault::Truncated, cut));
                events
            }
        }
    }

    /// The connection is at its end: whether the answer is, too, the ledger tells.
    fn closed(&mut self, text: &str) -> Next {
        let ledger = self.ledger.borrow();
        let whole = ledger.is_answered(&self.ask);
        if whole && (ledger.usage || !self.ask.usage) {
            self.ended = true;
            return Next::End;
        }
        Next::Fault(Fault::of(ReplicaFault::Truncated, text))
    }

    /// Reads whole events and gives what of them goes to the client.
    fn digest(&mut self, whole: Bytes) -> Next {
        // As long as all goes through as it came, nothing is copied.
        let mut changed: Option<BytesMut> = None;
        let mut progress = false;
        let mut through = 0;
        for block in Blocks::new(&whole) {
            let taken = match block {
                Ok(block) => self.block(&block).map(|taken| (block.at, taken)),
                Err(bad) => {
                    through = bad.at;
                    Err(Fault::of(ReplicaFault::Garbage, "an event is not valid UTF-8"))
                }
            };
            let (at, taken) = match taken {
                Ok(taken) => taken,
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            };
            through = at.end;
            progress |= taken.progress;
            match (&mut changed, taken.out) {
                (None, Out::Same) => {}
                (Some(out), Out::Same) => out.extend_from_slice(&whole[at]),
                (out, other) => {
                    let out = out.get_or_insert_with(|| BytesMut::from(&whole[..at.start]));
                    other.write(out);
                }
            }
            if self.ended || self.fault.is_some() {
                break;
            }
        }
        let bytes = match changed {
            Some(out) => out.freeze(),
            None => whole.slice(..through),
        };
        match self.fault.take() {
            Some(fault) if bytes.is_empty() => Next::Fault(fault),
            fault => {
                self.fault = fault;
                Next::Events { bytes, progress, adopted: self.adopted }
            }
        }
    }

    fn block(&mut self, block: &Block<'_>) -> Result<Taken, Fault> {
        let Some(data) = block.data.as_deref() else {
            // Comments keep connections open; half an event is of no use to anybody.
            let out = if block.is_comment { Out::Same } else { Out::Nothing };
            return Ok(Taken::idle(out));
        };
        if data.trim() == "[DONE]" {
            return self.done();
        }
        match &mut self.fit {
            None => self.first_hand(block, data),
            Some(_) => self.successor(block.kind, data),
        }
    }

    /// An event of a later replica: held back while that may have begun anew.
    fn successor(&mut self, kind: &str, data: &str) -> Result<Taken, Fault> {
        let notes = self.read(kind, data)?;
        let Some(fit) = &mut self.fit else { return Ok(Taken::idle(Out::Same)) };
        let said = notes.texts.iter().find(|(c, _)| c.is_plain()).map_or("", |(_, text)| text);
        if !notes.finished.is_empty() {
            fit.onset_ended();
        }
        match fit.onset(&self.ledger.borrow(), said) {
            Ok(Onset::Unclear) => {
                self.unclear.push((kind.to_owned(), data.to_owned()));
                return Ok(Taken::idle(Out::Nothing));
            }
            Ok(Onset::GoesOn) => {}
            Err(misfit) => return Err(misfit.into()),
        }
        if fit.awaits_reason(kind) {
            self.unclear.push((kind.to_owned(), data.to_owned()));
            return Ok(Taken::idle(Out::Nothing));
        }
        if !notes.finished.is_empty() {
            fit.check_limit(data)?;
        }
        if self.unclear.is_empty() {
            return self.fitted(kind, data);
        }
        let mut all = Taken::idle(Out::Several(Vec::new()));
        let mut held = std::mem::take(&mut self.unclear);
        held.push((kind.to_owned(), data.to_owned()));
        for (kind, data) in held {
            match self.fitted(&kind, &data) {
                Ok(taken) => all.and(taken),
                // What came before it counts as the client's, and goes first.
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            }
        }
        Ok(all)
    }

    /// `[DONE]` without a finish reason is what a cut looks like behind some servers.
    fn done(&mut self) -> Result<Taken, Fault> {
        let mut ledger = self.ledger.borrow_mut();
        let ends_short = self.fit.is_some() && self.ask.usage && !ledger.usage;
        if !ledger.is_answered(&self.ask) || ends_short {
            let text = "the replica said [DONE] without a finish reason";
            return Err(Fault::of(ReplicaFault::Truncated, text));
        }
        self.ended = true;
        if !self.ask.api.has_choices() {
            // Not how this API ends.
            return Ok(Taken::idle(Out::Nothing));
        }
        ledger.last = true;
        Ok(Taken::idle(Out::Same))
    }

    /// An event of the replica that began the answer: it goes through as it is.
    fn first_hand(&mut self, block: &Block<'_>, data: &str) -> Result<Taken, Fault> {
        let notes = match self.pattern.read(data) {
            Some(notes) => notes,
            None => {
                let notes = self.read(block.kind, data)?;
                self.pattern.learn(data, &notes);
                notes
            }
        };
        let mut ledger = self.ledger.borrow_mut();
        if let Some(error) = notes.error {
            drop(ledger);
            return self.error(error);
        }
        if ledger.wants_names(self.ask.api, &notes) {
            ledger.learn_names(self.ask.api, data);
        }
        if self.excess.is_beyond(&self.ask, &ledger, &notes) {
            drop(ledger);
            return Ok(self.beyond(block.kind, data));
        }
        ledger.apply(&notes);
        self.ended |= notes.last;
        let progress = notes.is_progress();
        let out = match notes.extra.is_empty() || self.ask.wants_ids {
            true => Out::Same,
            false => Out::Event(String::new(), without(data, &notes)),
        };
        Ok(Taken { out, progress })
    }

    /// An event beyond the limit of tokens: held back, as a server may cut tokens otherwise
    /// than into events; when there are too many, the answer ends where it should have.
    fn beyond(&mut self, kind: &str, data: &str) -> Taken {
        let mut ledger = self.ledger.borrow_mut();
        if self.excess.hold(&self.ask, kind, data) {
            return Taken::idle(Out::Nothing);
        }
        let mut all = Taken { out: Out::Several(Vec::new()), progress: true };
        let held = self.excess.take();
        if held.is_empty() {
            (self.endless, self.ended) = (true, true);
            for end in endless::ending(self.ask.api, &self.ask, &ledger) {
                all.and(Taken::idle(Out::Event(String::new(), end)));
            }
            ledger.ended_here();
            return all;
        }
        // Its own end came: all of it is the answer.
        for (kind, data) in held {
            if let Ok(notes) = notes::read(self.ask.api, &kind, &data) {
                ledger.apply(&notes);
                self.ended |= notes.last;
                let shown = if self.ask.wants_ids { data.clone() } else { without(&data, &notes) };
                all.and(Taken::idle(Out::Event(kind, shown)));
            }
        }
        all
    }

    /// What an event of a later replica becomes.
    fn fitted(&mut self, kind: &str, data: &str) -> Result<Taken, Fault> {
        let original = self.read(kind, data)?;
        if let Some(error) = original.error {
            return self.error(error);
        }
        let Some(fit) = &mut self.fit else { return Ok(Taken::idle(Out::Same)) };
        let mut ledger = self.ledger.borrow_mut();
        let was_level = fit.is_level(&ledger);
        let event = fit.event(&mut ledger, kind, data)?;
        let Some(event) = event else {
            self.ended |= original.last;
            if was_level && original.texts.is_empty() {
                match self.adopted {
                    true => ledger.apply_ids(&original),
                    false => self.early_ids.extend(original.ids.iter().flatten()),
                }
            }
            return Ok(Taken::idle(Out::Nothing));
        };
        let notes = notes::read(self.ask.api, kind, &event).map_err(|bad| garbage(&bad))?;
        if !std::mem::replace(&mut self.adopted, true) {
            ledger.rebase_ids(&std::mem::take(&mut self.early_ids));
        }
        ledger.apply(&notes);
        self.ended |= notes.last;
        let shown = if self.ask.wants_ids { event.clone() } else { without(&event, &notes) };
        Ok(Taken { out: Out::Event(kind.to_owned(), shown), progress: notes.is_progress() })
    }

    fn read<'d>(&self, kind: &str, data: &'d str) -> Result<Notes<'d>, Fault> {
        // A completion that stands for a chat is read as what it is.
        notes::read(self.ask.api, kind, data).map_err(|bad| garbage(&bad))
    }

    fn error(&mut self, error: ErrorEvent) -> Result<Taken, Fault> {
        match (error, &self.fit) {
            (ErrorEvent::Client, None) => {
                (self.client_fault, self.ended) = (true, true);
                Ok(Taken { out: Out::Same, progress: true })
            }
            // What another replica began, this one refuses: not a matter of the request.
            (ErrorEvent::Client, Some(_)) => Err(Fault::diverged("it refuses to go on".into())),
            (ErrorEvent::Replica, _) => {
                Err(Fault::of(ReplicaFault::ServerError, "the replica sent an error event"))
            }
        }
    }
}

impl From<Misfit> for Fault {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Diverged(text) => Self::diverged(text),
            Misfit::Malformed(bad) => garbage(&bad),
        }
    }
}

fn garbage(bad: &notes::Malformed) -> Fault {
    Fault::of(ReplicaFault::Garbage, format!("an event makes no sense: {}", bad.0))
}

/// An event's data without the token ids that only the gateway asked for.
fn without(data: &str, notes: &Notes<'_>) -> String {
    let mut extra = notes.extra.clone();
    extra.sort_by_key(|range| range.start);
    let mut out = String::with_capacity(data.len());
    let mut from = 0;
    for range in extra {
        out.push_str(data.get(from..range.start).unwrap_or_default());
        from = range.end;
    }
    out.push_str(data.get(from..).unwrap_or_default());
    out
}

/// What one block became.
struct Taken {
    out: Out,
    progress: bool,
}

impl Taken {
    fn idle(out: Out) -> Self {
        Self { out, progress: false }
    }

    fn and(&mut self, other: Self) {
        self.progress |= other.progress;
        if let Out::Several(all) = &mut self.out {
            all.push(other.out);
        }
    }
}

/// What goes to the client for a block.
enum Out {
    Same,
    Nothing,
    /// An event's name and data.
    Event(String, String),
    /// Events that were held back.
    Several(Vec<Out>),
}

impl Out {
    fn write(self, out: &mut BytesMut) {
        let (kind, data) = match self {
            Self::Event(kind, data) => (kind, data),
            Self::Several(all) => return all.into_iter().for_each(|one| one.write(out)),
            Self::Same | Self::Nothing => return,
        };
        if !kind.is_empty() {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(kind.as_bytes());
            out.extend_from_slice(b"\n");
        }
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(data.as_bytes());
        out.extend_from_slice(b"\n\n");
    }
}
