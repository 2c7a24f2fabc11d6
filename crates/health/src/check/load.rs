//! Processes that run or want to, and those that wait for disks.

use super::{Asking, Kind, Members, Reading, Source, Trouble, Wrong, above, value};
use evenkeel_domain::check::{CheckSettings, CheckState, Unit};
use procfs::{Current, LoadAverage};
use std::sync::Arc;

pub(super) const KIND: Kind = Kind {
    name: "load",
    keys: &[],
    // The first is what a bare number means: the same on small and large machines.
    measures: &[
        above("per_core", Unit::Number),
        above("load1", Unit::Number),
        above("load5", Unit::Number),
        above("load15", Unit::Number),
    ],
    silence: CheckState::Unknown,
    build,
};

fn build(_: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    Ok(Box::new(Load))
}

#[derive(Debug)]
struct Load;

impl Source for Load {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(async {
            let load = LoadAverage::current()
                .map_err(|error| Trouble::NoData(format!("/proc/loadavg: {error}")))?;
            let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
            let one = f64::from(load.one);
            Ok(Reading::of([
                value("per_core", one / cores, Unit::Number),
                value("load1", one, Unit::Number),
                value("load5", f64::from(load.five), Unit::Number),
                value("load15", f64::from(load.fifteen), Unit::Number),
            ]))
        })
    }
}
