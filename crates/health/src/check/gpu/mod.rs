//! GPUs of NVIDIA's: memory, temperature, what slows them down, memory errors, Xids, and
//! whether they are there at all. The management library is opened while running: without
//! one there is no data, which is no fault.

mod card;
mod stands;
#[cfg(test)]
mod tests;
mod xid;

use super::runner::concerned;
use super::{Asking, Kind, Members, Part, Reading, Source, Trouble, Wrong, above, share, value};
use card::{Answer, Card};
use evenkeel_domain::check::{CheckSettings, CheckState, Unit};
use procfs::process::Process;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use tokio::sync::oneshot;

/// The name under which every driver installs it.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// Processes between a replica's own and one that uses a GPU, at most.
const DEPTH: usize = 64;

pub(super) const KIND: Kind = Kind {
    name: "gpu",
    keys: &["gpu", "library"],
    measures: &[
        above("memory", Unit::Share),
        above("temperature", Unit::Celsius),
        above("busy", Unit::Share),
        above("memory_errors", Unit::Number),
        above("xids", Unit::Number),
    ],
    // A driver that hangs says nothing to anybody.
    silence: CheckState::Critical,
    build,
};

fn build(settings: &CheckSettings, members: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    let library = settings.library.clone().map_or_else(|| LIBRARY.into(), OsString::from);
    let (settings, members) = (settings.clone(), members.clone());
    Ok(Box::new(Gpu { library, settings, members, questions: None, last: BTreeMap::new() }))
}

#[derive(Debug)]
struct Gpu {
    library: OsString,
    settings: CheckSettings,
    members: Arc<dyn Members>,
    questions: Option<SyncSender<oneshot::Sender<Answer>>>,
    /// Who was seen on each GPU last: one that is lost tells no more.
    last: BTreeMap<u32, Vec<Arc<str>>>,
}

impl Gpu {
    /// The thread's ear; the thread is started by the first look.
    fn questions(&mut self) -> Result<SyncSender<oneshot::Sender<Answer>>, Trouble> {
        if let Some(questions) = &self.questions {
            return Ok(questions.clone());
        }
        let (asks, questions) = sync_channel(1);
        let (library, one) = (self.library.clone(), self.settings.gpu.clone());
        let spawned = std::thread::Builder::new()
            .name("gpu".into())
            .spawn(move || card::serve(&library, one.as_deref(), &questions));
        spawned.map_err(|error| Trouble::NoData(format!("no thread for the GPU: {error}")))?;
        self.questions = Some(asks.clone());
        Ok(asks)
    }

    fn part(&mut self, card: Card) -> Part {
        let mut values = Vec::new();
        let memory = card.memory.map(|(used, all)| share(used, all));
        values.extend(memory.map(|used| value("memory", used, Unit::Share)));
        values.extend(card.temperature.map(|t| value("temperature", t, Unit::Celsius)));
        values.extend(card.busy.map(|busy| value("busy", busy, Unit::Share)));
        let errors = card.uncorrected.map(|n| value("memory_errors", n as f64, Unit::Number));
        values.extend(errors);
        values.push(value("xids", card.xids as f64, Unit::Number));
        let (said, certain) = said(&card);
        let concerns = Some(self.on(&card));
        Part {
            subject: format!("GPU {}", card.index).into(),
            concerns,
            said,
            certain,
            values,
            ..Part::default()
        }
    }

    /// The replicas that have a process on the GPU, or had one when it was lost. Where none
    /// was ever seen, those that are named in the settings.
    fn on(&mut self, card: &Card) -> Vec<Arc<str>> {
        let named: Vec<Arc<str>> = concerned(&self.settings, &*self.members)
            .iter()
            .map(|replica| replica.id.name.clone())
            .collect();
        let any = self.settings.service.is_none() && self.settings.replicas.is_empty();
        let roots = self.members.pids();
        let mut on = BTreeSet::new();
        for pid in &card.pids {
            let owner = ancestors(*pid).find_map(|pid| roots.iter().find(|(_, root)| *root == pid));
            on.extend(owner.map(|(name, _)| name.clone()));
        }
        let on: Vec<_> = on.into_iter().filter(|name| any || named.contains(name)).collect();
        match (on.is_empty(), card.lost) {
            (false, _) => {
                self.last.insert(card.index, on.clone());
                on
            }
            (true, true) => self.last.get(&card.index).cloned().unwrap_or(named),
            (true, false) => named,
        }
    }
}

/// A process and those that it descends from.
fn ancestors(pid: u32) -> impl Iterator<Item = u32> {
    let parent = |pid: &u32| {
        let stat = Process::new(i32::try_from(*pid).ok()?).ok()?.stat().ok()?;
        u32::try_from(stat.ppid).ok().filter(|parent| *parent > 1)
    };
    std::iter::successors(Some(pid), parent).take(DEPTH)
}

/// What the GPU says of itself, and whether that is certain.
fn said(card: &Card) -> (Option<(CheckState, String)>, bool) {
    if card.lost {
        let (what, class) = xid::of(79);
        let text = format!("{what} ({}: {})", class.label(), class.remedy());
        return (Some((CheckState::Critical, text)), true);
    }
    if let Some((state, text, definite)) = &card.stands {
        return (Some((*state, text.clone())), *definite);
    }
    if card.slowed.is_empty() {
        return (None, false);
    }
    let text = format!("slowed down: {}", card.slowed.join(", "));
    (Some((CheckState::Warning, text)), false)
}

impl Source for Gpu {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            match self.questions()?.try_send(answer) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    return Err(Trouble::Hangs(
                        "the driver has not come back from the last look".into(),
                    ));
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.questions = None;
                    return Err(Trouble::NoData("its thread has ended; it is begun anew".into()));
                }
            }
            match answered.await {
                Ok(Ok(cards)) => {
                    Ok(Reading { parts: cards.into_iter().map(|card| self.part(card)).collect() })
                }
                Ok(Err(why)) => Err(Trouble::NoData(why)),
                Err(_) => Err(Trouble::NoData("the look was broken off".into())),
            }
        })
    }
}
