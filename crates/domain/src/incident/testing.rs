//! A journal in memory, and what every journal must do.

use super::{
    Entry, Incident, Journal, JournalError, JournalFuture, Millis, Phase, Record, Row, Standing,
};
use std::sync::{Mutex, PoisonError};

/// A journal that forgets when it is dropped. It can be told to break.
#[derive(Debug, Default)]
pub struct MemoryJournal(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    epoch: u64,
    rows: Vec<(Row, Record)>,
    /// Appends that still succeed; `None` for all.
    left: Option<usize>,
}

impl MemoryJournal {
    /// From the next `n` appends on, all fail; `None` mends it.
    pub fn break_after(&self, n: Option<usize>) {
        self.lock().left = n;
    }

    /// All rows, oldest first.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.lock().rows.iter().map(|(row, _)| row.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now<'a, T: Send + 'a>(value: Result<T, JournalError>) -> JournalFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Inner {
    fn append(&mut self, epoch: u64, record: &Record) -> Result<(), JournalError> {
        if epoch != self.epoch {
            return Err(JournalError::Fenced);
        }
        match &mut self.left {
            Some(0) => return Err(JournalError::Unavailable("told to break".into())),
            Some(left) => *left -= 1,
            None => {}
        }
        let seq = self.rows.len() as u64 + 1;
        let entry = record.entry.clone();
        self.rows.push((Row { seq, writer: "test".into(), epoch, entry }, record.clone()));
        Ok(())
    }

    fn latest(&self) -> Vec<Incident> {
        let mut all: Vec<Incident> = Vec::new();
        for incident in self.rows.iter().filter_map(|(_, record)| record.incident.as_ref()) {
            match all.iter_mut().find(|known| known.id == incident.id) {
                Some(known) => known.clone_from(incident),
                None => all.push(incident.clone()),
            }
        }
        all
    }
}

impl Journal for MemoryJournal {
    fn take<'a>(&'a self, _: Millis) -> JournalFuture<'a, u64> {
        let mut inner = self.lock();
        inner.epoch += 1;
        now(Ok(inner.epoch))
    }

    fn append<'a>(&'a self, epoch: u64, record: &'a Record) -> JournalFuture<'a, ()> {
        now(self.lock().append(epoch, record))
    }

    fn load(&self) -> JournalFuture<'_, (Vec<Incident>, Standing)> {
        let inner = self.lock();
        let standing = inner.rows.iter().rev().find_map(|(_, record)| record.standing.clone());
        let open = inner.latest().into_iter().filter(Incident::is_open).collect();
        now(Ok((open, standing.unwrap_or_default())))
    }

    fn incidents(&self, limit: u32) -> JournalFuture<'_, Vec<Incident>> {
        let all = self.lock().latest();
        now(Ok(all.into_iter().rev().take(limit as usize).collect()))
    }

    fn incident<'a>(&'a self, id: &'a str) -> JournalFuture<'a, Option<(Incident, Vec<Row>)>> {
        let inner = self.lock();
        let found = inner.latest().into_iter().find(|incident| incident.id == id);
        let of = |row: &&(Row, Record)| row.0.entry.incident.as_deref() == Some(id);
        let rows = inner.rows.iter().filter(of).map(|(row, _)| row.clone()).collect();
        now(Ok(found.map(|incident| (incident, rows))))
    }

    fn prune(&self, _: u64, _: u64, _: Millis) -> JournalFuture<'_, u64> {
        now(Ok(0))
    }
}

/// An incident in this phase, for suites.
#[must_use]
pub fn incident(id: &str, target: &str, phase: Phase) -> Incident {
    Incident {
        id: id.into(),
        target: target.into(),
        service: "chat".into(),
        phase,
        back: None,
        since: 1,
        cause: super::Cause::Hung,
        why: "silence: nothing for 3 s".into(),
        signs: Vec::new(),
        times: super::Times { onset: 1, ..Default::default() },
        steps: Vec::new(),
        at: 0,
        tries: 0,
        done: 0,
        doing: None,
        ends: 0,
        note: String::new(),
        next: String::new(),
        holds: Vec::new(),
        ahead: None,
    }
}

/// A record that leaves this incident.
#[must_use]
pub fn record(kind: &str, incident: Incident, at: Millis) -> Record {
    let id = Some(incident.id.clone());
    let entry = Entry { at, incident: id, kind: kind.into(), text: format!("{kind} it") };
    Record { entry, incident: Some(incident), standing: None }
}

/// What every journal must do. `journal` is empty.
///
/// # Panics
/// When it does not.
#[expect(clippy::unwrap_used, reason = "a suite panics as tests do")]
pub async fn suite(journal: &dyn Journal) {
    let first = journal.take(1).await.unwrap();
    assert_eq!(journal.load().await.unwrap(), (Vec::new(), Standing::default()));
    for (kind, phase) in [("confirmed", Phase::Confirmed), ("isolated", Phase::Isolated)] {
        journal.append(first, &record(kind, incident("1-1", "chat-0", phase), 2)).await.unwrap();
    }
    journal
        .append(first, &record("confirmed", incident("1-2", "chat-1", Phase::Confirmed), 3))
        .await
        .unwrap();
    let over = incident("1-2", "chat-1", Phase::Resolved);
    let mut last = record("resolved", over, 4);
    let mut standing = Standing::default();
    standing.changed("chat-1", super::ChangedBy::Recovery, 4);
    last.standing = Some(standing.clone());
    journal.append(first, &last).await.unwrap();
    let (open, stands) = journal.load().await.unwrap();
    assert_eq!(open, [incident("1-1", "chat-0", Phase::Isolated)], "the last state counts");
    assert_eq!(stands, standing);
    let all: Vec<String> =
        journal.incidents(9).await.unwrap().into_iter().map(|found| found.id).collect();
    assert_eq!(all, ["1-2", "1-1"], "newest first");
    assert_eq!(journal.incidents(1).await.unwrap().len(), 1);
    let (found, rows) = journal.incident("1-1").await.unwrap().unwrap();
    let kinds: Vec<&str> = rows.iter().map(|row| row.entry.kind.as_str()).collect();
    assert_eq!((found.phase, kinds.as_slice()), (Phase::Isolated, &["confirmed", "isolated"][..]));
    assert!(rows.iter().all(|row| row.epoch == first && !row.writer.is_empty()));
    assert!(journal.incident("9-9").await.unwrap().is_none());
    let second = journal.take(5).await.unwrap();
    assert!(second > first, "each who takes it has an epoch of its own");
    let late = record("begin", incident("1-1", "chat-0", Phase::Acting), 6);
    assert_eq!(journal.append(first, &late).await, Err(JournalError::Fenced));
    journal.append(second, &late).await.unwrap();
    assert_eq!(journal.load().await.unwrap().0[0].phase, Phase::Acting);
}
