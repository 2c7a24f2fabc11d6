//! Processes: of replicas that Evenkeel runs, or one by its number. What is measured is the
//! sum over a process and all that descend from it.

use super::runner::concerned;
use super::slot::Slot;
use super::{Asking, Kind, Members, Part, Reading, Source, Trouble, Wrong, above, value};
use evenkeel_domain::check::{CheckSettings, CheckState, CheckValue, Unit};
use procfs::WithCurrentSystemInfo;
use procfs::process::all_processes;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Processes of one tree at most: what forks without end is counted up to here.
const TREE: usize = 4096;

pub(super) const KIND: Kind = Kind {
    name: "process",
    keys: &["pid", "pidfile"],
    measures: &[
        above("memory", Unit::Bytes),
        above("threads", Unit::Number),
        above("files", Unit::Number),
        above("processes", Unit::Number),
    ],
    silence: CheckState::Unknown,
    build,
};

fn build(settings: &CheckSettings, members: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    let of = match (settings.pid, &settings.pidfile) {
        (Some(_), Some(_)) => {
            return Err(("pidfile".into(), "`pid` names the process already".into()));
        }
        (Some(pid), None) => Of::Pid(pid),
        (None, Some(file)) => Of::File(file.clone()),
        (None, None) if settings.service.is_none() && settings.replicas.is_empty() => {
            let text = "is missing: a `pid`, a `pidfile`, or whose processes are meant by \
                        `service` or `replicas`";
            return Err(("pid".into(), text.into()));
        }
        (None, None) => Of::Replicas,
    };
    let (settings, members) = (settings.clone(), members.clone());
    Ok(Box::new(Processes { of, settings, members, slot: Slot::default() }))
}

/// Whose process.
#[derive(Debug, Clone)]
enum Of {
    Pid(u32),
    File(PathBuf),
    Replicas,
}

#[derive(Debug)]
struct Processes {
    of: Of,
    settings: CheckSettings,
    members: Arc<dyn Members>,
    slot: Slot,
}

/// The process of one thing that is looked at, while it runs.
type Root = (Arc<str>, Option<u32>);

/// What one process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Used {
    memory: u64,
    threads: u64,
    /// Those of others cannot be counted without rights.
    files: Option<u64>,
}

/// All processes: parent and what each uses.
type Table = HashMap<u32, (u32, Used)>;

/// What a process and its descendants use; `None` when it is not there.
fn tree(table: &Table, root: u32) -> Option<Vec<Used>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, (parent, _)) in table {
        children.entry(*parent).or_default().push(*pid);
    }
    let mut found = vec![table.get(&root)?.1];
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        // Nobody is asked twice, whatever the table says.
        for child in children.remove(&pid).unwrap_or_default() {
            if child != root && found.len() < TREE {
                found.extend(table.get(&child).map(|(_, used)| *used));
                next.push(child);
            }
        }
    }
    Some(found)
}

fn values(all: &[Used]) -> Vec<CheckValue> {
    let sum = |pick: fn(&Used) -> u64| all.iter().map(pick).sum::<u64>() as f64;
    let mut found = vec![
        value("memory", sum(|u| u.memory), Unit::Bytes),
        value("threads", sum(|u| u.threads), Unit::Number),
        value("processes", all.len() as f64, Unit::Number),
    ];
    if all.iter().all(|used| used.files.is_some()) {
        found.push(value("files", sum(|u| u.files.unwrap_or(0)), Unit::Number));
    }
    found
}

/// Reads all processes: one that ends meanwhile is none. Open files are counted only where
/// they are asked for, since that looks at each.
fn table(roots: &[u32]) -> Result<Table, Trouble> {
    let all = all_processes().map_err(|e| Trouble::NoData(format!("/proc: {e}")))?;
    let mut table = Table::new();
    for process in all.flatten() {
        let Ok(stat) = process.stat() else { continue };
        let (Ok(pid), Ok(parent)) = (u32::try_from(stat.pid), u32::try_from(stat.ppid)) else {
            continue;
        };
        // A zombie has ended: only its number is left.
        if stat.state == 'Z' {
            continue;
        }
        let threads = u64::try_from(stat.num_threads).unwrap_or(0);
        let used = Used { memory: stat.rss_bytes().get(), threads, files: None };
        table.insert(pid, (parent, used));
    }
    for pid in descendants(&table, roots) {
        let files = i32::try_from(pid).ok().and_then(|pid| {
            procfs::process::Process::new(pid).and_then(|process| process.fd_count()).ok()
        });
        if let Some((_, used)) = table.get_mut(&pid) {
            used.files = files.map(|n| n as u64);
        }
    }
    Ok(table)
}

fn descendants(table: &Table, roots: &[u32]) -> Vec<u32> {
    let below = |mut pid: u32| {
        for _ in 0..64 {
            if roots.contains(&pid) {
                return true;
            }
            match table.get(&pid) {
                Some((parent, _)) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    table.keys().copied().filter(|pid| below(*pid)).take(TREE).collect()
}

fn from_file(file: &PathBuf) -> Result<u32, Trouble> {
    let failed =
        |what: String| Trouble::Failed(format!("{}: {what}; is it running?", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| failed(format!("cannot be read: {e}")))?;
    text.trim().parse().map_err(|_| failed("holds no process id".into()))
}

/// One part for each process that is meant.
fn look(roots: Vec<Root>) -> Result<Reading, Trouble> {
    let pids: Vec<u32> = roots.iter().filter_map(|(_, pid)| *pid).collect();
    let table = table(&pids)?;
    let parts = roots.into_iter().map(|(subject, pid)| {
        let used = pid.and_then(|pid| tree(&table, pid));
        let said = used.is_none().then(|| match pid {
            Some(pid) => (CheckState::Critical, format!("no process {pid} runs")),
            None => (CheckState::Unknown, "it has no process here that runs".to_owned()),
        });
        let concerns = (!subject.is_empty()).then(|| vec![subject.clone()]);
        let values = used.map(|used| values(&used)).unwrap_or_default();
        Part { subject, concerns, said, values, ..Part::default() }
    });
    Ok(Reading { parts: parts.collect() })
}

impl Processes {
    fn roots(&self) -> Result<Vec<Root>, Trouble> {
        match &self.of {
            Of::Pid(pid) => Ok(vec![("".into(), Some(*pid))]),
            Of::File(file) => Ok(vec![("".into(), Some(from_file(file)?))]),
            Of::Replicas => {
                let all = concerned(&self.settings, &*self.members);
                if all.is_empty() {
                    return Err(Trouble::NoData("there is no such replica now".into()));
                }
                Ok(all.iter().map(|r| (r.id.name.clone(), self.members.pid(&r.id.name))).collect())
            }
        }
    }
}

impl Source for Processes {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(async move {
            let roots = self.roots()?;
            self.slot.run(move || look(roots)).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_summed_and_loops_end() {
        let used = |memory, files| Used { memory, threads: 2, files };
        let mut all = Table::new();
        all.insert(1, (0, used(1000, None)));
        all.insert(10, (1, used(1, Some(3))));
        all.insert(11, (10, used(2, Some(4))));
        all.insert(12, (11, used(4, Some(5))));
        all.insert(20, (1, used(64, None)));
        let found = values(&tree(&all, 10).unwrap());
        let plain: Vec<_> = found.iter().map(|v| (&*v.measure, v.value)).collect();
        let expected = [("memory", 7.0), ("threads", 6.0), ("processes", 3.0), ("files", 12.0)];
        assert_eq!(plain, expected);
        assert_eq!(tree(&all, 99), None);
        all.insert(10, (12, used(1, None)));
        assert_eq!(tree(&all, 10).unwrap().len(), 3);
        assert_eq!(values(&tree(&all, 1).unwrap()).len(), 3, "not all files can be counted");
    }

    #[test]
    fn our_own_process_is_found_and_another_is_not() {
        let own = std::process::id();
        let reading =
            look(vec![("".into(), Some(own)), ("chat-0".into(), Some(u32::MAX))]).unwrap();
        let memory = reading.parts[0].values.iter().find(|v| v.measure == "memory").unwrap();
        assert!(memory.value > 1e5 && reading.parts[0].said.is_none());
        assert!(matches!(&reading.parts[1].said, Some((CheckState::Critical, _))));
    }
}
