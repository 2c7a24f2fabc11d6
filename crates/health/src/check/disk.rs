//! Space and inodes of the file system that a path is on.

use super::slot::Slot;
use super::{
    Asking, Kind, Members, Reading, Source, Trouble, Wrong, above, absolute, below, share, value,
};
use evenkeel_domain::check::{CheckSettings, CheckState, Unit};
use rustix::fs::{StatVfsMountFlags, statvfs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const KIND: Kind = Kind {
    name: "disk",
    keys: &["path"],
    measures: &[
        above("used", Unit::Share),
        below("free", Unit::Bytes),
        above("inodes_used", Unit::Share),
        above("read_only", Unit::Number),
    ],
    // A file system that does not answer is not there for those who need it.
    silence: CheckState::Critical,
    build,
};

fn build(settings: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    let path = absolute(settings, "name a directory on the disk, such as \"/\"")?;
    Ok(Box::new(Disk { path: path.into(), slot: Slot::default() }))
}

#[derive(Debug)]
struct Disk {
    path: PathBuf,
    slot: Slot,
}

fn look(path: &Path) -> Result<Reading, Trouble> {
    let stat = statvfs(path)
        .map_err(|error| Trouble::Failed(format!("{}: {error}; is it mounted?", path.display())))?;
    let block = stat.f_frsize as f64;
    let used = (stat.f_blocks - stat.f_bfree.min(stat.f_blocks)) as f64;
    let free = stat.f_bavail as f64;
    let inodes = (stat.f_files - stat.f_ffree.min(stat.f_files)) as f64;
    let read_only = stat.f_flag.contains(StatVfsMountFlags::RDONLY);
    Ok(Reading::of([
        // As `df` counts: what is kept for root is neither used nor free.
        value("used", share(used, used + free), Unit::Share),
        value("free", free * block, Unit::Bytes),
        value("inodes_used", share(inodes, stat.f_files as f64), Unit::Share),
        value("read_only", f64::from(u8::from(read_only)), Unit::Number),
    ]))
}

impl Source for Disk {
    fn ask(&mut self) -> Asking<'_> {
        let path = self.path.clone();
        Box::pin(self.slot.run(move || look(&path)))
    }
}
