//! Processors: how busy they were since the last look.

use super::runner::FIRST;
use super::{Asking, Kind, Members, Reading, Source, Trouble, Wrong, above, share, value};
use evenkeel_domain::check::{CheckSettings, CheckState, Unit};
use procfs::{CurrentSI, KernelStats};
use std::sync::Arc;
use tokio::time::sleep;

pub(super) const KIND: Kind = Kind {
    name: "cpu",
    keys: &[],
    measures: &[
        above("used", Unit::Share),
        above("waiting_for_disks", Unit::Share),
        above("stolen", Unit::Share),
    ],
    silence: CheckState::Unknown,
    build,
};

fn build(_: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    Ok(Box::new(Cpu::default()))
}

/// Ticks since the host was started.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ticks {
    all: u64,
    idle: u64,
    waiting: u64,
    stolen: u64,
}

#[derive(Debug, Default)]
struct Cpu {
    before: Option<Ticks>,
}

fn ticks() -> Result<Ticks, Trouble> {
    let stats = KernelStats::current().map_err(|e| Trouble::NoData(format!("/proc/stat: {e}")))?;
    let cpu = stats.total;
    let (waiting, stolen) = (cpu.iowait.unwrap_or(0), cpu.steal.unwrap_or(0));
    let busy = [cpu.user, cpu.nice, cpu.system, cpu.irq.unwrap_or(0), cpu.softirq.unwrap_or(0)];
    let all = busy.iter().sum::<u64>() + cpu.idle + waiting + stolen;
    Ok(Ticks { all, idle: cpu.idle, waiting, stolen })
}

fn reading(before: Ticks, now: Ticks) -> Reading {
    let since = |pick: fn(&Ticks) -> u64| pick(&now).saturating_sub(pick(&before)) as f64;
    let all = since(|t| t.all);
    let unused = since(|t| t.idle) + since(|t| t.waiting);
    Reading::of([
        value("used", share(all - unused, all), Unit::Share),
        value("waiting_for_disks", share(since(|t| t.waiting), all), Unit::Share),
        value("stolen", share(since(|t| t.stolen), all), Unit::Share),
    ])
}

impl Source for Cpu {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(async move {
            let before = match self.before {
                Some(before) => before,
                None => {
                    let first = ticks()?;
                    sleep(FIRST).await;
                    first
                }
            };
            let now = ticks()?;
            self.before = Some(now);
            Ok(reading(before, now))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_use_and_counters_may_fall() {
        let before = Ticks { all: 1000, idle: 500, waiting: 100, stolen: 0 };
        let now = Ticks { all: 1100, idle: 520, waiting: 130, stolen: 10 };
        let values: Vec<f64> =
            reading(before, now).parts[0].values.iter().map(|v| v.value).collect();
        assert_eq!(values, [0.5, 0.3, 0.1]);
        let values = reading(now, before).parts.remove(0).values;
        assert!(values.iter().all(|v| v.value == 0.0), "{values:?}");
    }
}
