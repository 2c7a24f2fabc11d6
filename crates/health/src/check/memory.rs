//! Memory of the host.

use super::{Asking, Kind, Members, Reading, Source, Trouble, Wrong, above, below, share, value};
use evenkeel_domain::check::{CheckSettings, CheckState, Unit};
use procfs::{Current, Meminfo};
use std::sync::Arc;

pub(super) const KIND: Kind = Kind {
    name: "memory",
    keys: &[],
    measures: &[
        above("used", Unit::Share),
        below("available", Unit::Bytes),
        above("swap_used", Unit::Share),
    ],
    silence: CheckState::Unknown,
    build,
};

fn build(_: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    Ok(Box::new(Memory))
}

#[derive(Debug)]
struct Memory;

impl Source for Memory {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(async {
            let all = Meminfo::current()
                .map_err(|error| Trouble::NoData(format!("/proc/meminfo: {error}")))?;
            // What the kernel could give without swapping; older ones do not say.
            let available = all.mem_available.unwrap_or(all.mem_free + all.cached) as f64;
            let total = all.mem_total as f64;
            let swapped = all.swap_total.saturating_sub(all.swap_free) as f64;
            Ok(Reading::of([
                value("used", share(total - available, total), Unit::Share),
                value("available", available, Unit::Bytes),
                value("swap_used", share(swapped, all.swap_total as f64), Unit::Share),
            ]))
        })
    }
}
