//! How long a small write takes until it is on the disk. The file has no name (or loses it
//! at once, where the file system needs one), so that nothing of it is left.

use super::slot::Slot;
use super::{Asking, Kind, Members, Reading, Source, Trouble, Wrong, above, absolute, value};
use evenkeel_domain::check::{CheckSettings, CheckState, Unit};
use evenkeel_domain::clock;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One page: what a journal's commit or a small record costs.
const BYTES: usize = 4096;

pub(super) const KIND: Kind = Kind {
    name: "disk_latency",
    keys: &["path"],
    measures: &[above("latency", Unit::Seconds)],
    silence: CheckState::Critical,
    build,
};

fn build(settings: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    let path = absolute(settings, "name a directory that may be written to")?;
    Ok(Box::new(DiskLatency { path: path.into(), slot: Slot::default() }))
}

#[derive(Debug)]
struct DiskLatency {
    path: PathBuf,
    slot: Slot,
}

fn write(dir: &Path) -> Result<Reading, Trouble> {
    let failed = |what: &str, error: std::io::Error| {
        Trouble::Failed(format!("{}: {what}: {error}; check space and rights", dir.display()))
    };
    let mut file = tempfile::tempfile_in(dir).map_err(|e| failed("no file can be made", e))?;
    let began = clock::now();
    file.write_all(&[0xA5; BYTES]).map_err(|e| failed("cannot be written to", e))?;
    file.sync_all().map_err(|e| failed("cannot be synced", e))?;
    let took = clock::now().saturating_duration_since(began);
    Ok(Reading::of([value("latency", took.as_secs_f64(), Unit::Seconds)]))
}

impl Source for DiskLatency {
    fn ask(&mut self) -> Asking<'_> {
        let path = self.path.clone();
        Box::pin(self.slot.run(move || write(&path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_measured_and_nothing_is_left_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let reading = write(dir.path()).unwrap();
        assert!(reading.parts[0].values[0].value > 0.0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let Err(Trouble::Failed(text)) = write(Path::new("/no/such")) else { panic!("no place") };
        assert!(text.contains("/no/such: no file can be made"), "{text}");
    }
}
