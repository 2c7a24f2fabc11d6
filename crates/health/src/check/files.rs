//! Open files: of the whole host, and of the gateway's own process.

use super::{Asking, Kind, Members, Reading, Source, Trouble, Wrong, above, share, value};
use evenkeel_domain::check::{CheckSettings, CheckState, Unit};
use procfs::process::Process;
use rustix::process::{Resource, getrlimit};
use std::sync::Arc;

pub(super) const KIND: Kind = Kind {
    name: "files",
    keys: &[],
    measures: &[
        above("used", Unit::Share),
        above("gateway_used", Unit::Share),
        above("open", Unit::Number),
    ],
    silence: CheckState::Unknown,
    build,
};

fn build(_: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    Ok(Box::new(Files))
}

#[derive(Debug)]
struct Files;

impl Source for Files {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(async {
            let host = procfs::sys::fs::file_nr()
                .map_err(|error| Trouble::NoData(format!("/proc/sys/fs/file-nr: {error}")))?;
            let open = host.allocated.saturating_sub(host.free) as f64;
            let own = Process::myself().and_then(|process| process.fd_count());
            let own = own.map_err(|error| Trouble::NoData(format!("/proc/self/fd: {error}")))?;
            let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            Ok(Reading::of([
                value("used", share(open, host.max as f64), Unit::Share),
                value("gateway_used", share(own as f64, limit as f64), Unit::Share),
                value("open", open, Unit::Number),
            ]))
        })
    }
}
