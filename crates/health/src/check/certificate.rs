//! How long a certificate is still valid: the first of a file's chain to expire.

use super::ahead::about;
use super::slot::Slot;
use super::{Asking, Kind, Members, Part, Reading, Source, Trouble, Wrong, absolute, below, value};
use evenkeel_domain::check::{Ahead, CheckSettings, CheckState, Unit};
use evenkeel_domain::clock;
use evenkeel_wire::tls;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A day.
const DAY: u64 = 86_400;
/// Days before the end at which it is said (again).
const STAGES: [u64; 4] = [30, 14, 7, 1];

pub(super) const KIND: Kind = Kind {
    name: "certificate",
    keys: &["path"],
    measures: &[below("left", Unit::Seconds)],
    silence: CheckState::Unknown,
    build,
};

fn build(settings: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    let path = absolute(settings, "name the file with the certificate")?;
    let own = settings.warning.is_some() || settings.critical.is_some();
    Ok(Box::new(Certificate { path: path.into(), own, slot: Slot::default() }))
}

#[derive(Debug)]
struct Certificate {
    path: PathBuf,
    /// Whether the configuration has thresholds of its own.
    own: bool,
    slot: Slot,
}

/// The first end of validity in a file, in seconds since the Unix epoch.
fn ends(path: &Path) -> Result<u64, Trouble> {
    let broken = |why: String| Trouble::Failed(format!("{}: {why}", path.display()));
    let chain = tls::certificates(path).map_err(|error| Trouble::Failed(error.to_string()))?;
    let mut first = None;
    for one in &chain {
        let (_, one) = X509Certificate::from_der(one)
            .map_err(|error| broken(format!("is no certificate: {error}")))?;
        let end = u64::try_from(one.validity().not_after.timestamp()).unwrap_or(0);
        first = Some(first.map_or(end, |known: u64| known.min(end)));
    }
    first.ok_or_else(|| broken("holds no certificate".into()))
}

/// What is said of a certificate that ends then, by the default thresholds: 30 days and one.
fn judged(end: u64, now: u64, own: bool) -> Part {
    let left = end.saturating_sub(now);
    let stage = STAGES.iter().filter(|days| left <= **days * DAY).count();
    let text = match left {
        0 => "it has expired; renew it: the file is read again by itself".to_owned(),
        left => format!("it expires in {}", about(Duration::from_secs(left))),
    };
    let state = match left {
        _ if own => CheckState::Ok,
        left if left <= DAY => CheckState::Critical,
        left if left <= STAGES[0] * DAY => CheckState::Warning,
        _ => CheckState::Ok,
    };
    let ahead = (stage > 0).then(|| Ahead {
        measure: "left".into(),
        at_unix_ms: end.saturating_mul(1000),
        text: text.clone(),
    });
    Part {
        said: Some((state, text)),
        values: vec![value("left", left as f64, Unit::Seconds)],
        stage,
        ahead,
        ..Part::default()
    }
}

impl Source for Certificate {
    fn ask(&mut self) -> Asking<'_> {
        let (path, own) = (self.path.clone(), self.own);
        let look = move || {
            let end = ends(&path)?;
            Ok(Reading { parts: vec![judged(end, clock::unix_millis() / 1000, own)] })
        };
        Box::pin(self.slot.run(look))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_thirty_fourteen_seven_and_one_day() {
        let end = 100 * DAY;
        let at = |left: u64| {
            let part = judged(end, end - left, false);
            (part.stage, part.said.unwrap().0)
        };
        assert_eq!(at(31 * DAY), (0, CheckState::Ok));
        assert_eq!(at(30 * DAY), (1, CheckState::Warning));
        assert_eq!(at(14 * DAY), (2, CheckState::Warning));
        assert_eq!(at(7 * DAY), (3, CheckState::Warning));
        assert_eq!(at(DAY), (4, CheckState::Critical));
        assert_eq!(judged(end, end + 5, false).said.unwrap().0, CheckState::Critical);
        assert_eq!(judged(end, end - 31 * DAY, false).ahead, None);
        assert_eq!(judged(end, end - DAY, false).ahead.unwrap().at_unix_ms, end * 1000);
        assert_eq!(judged(end, end - DAY, true).said.unwrap().0, CheckState::Ok, "its own");
    }

    #[test]
    fn a_file_without_one_is_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nothing").unwrap();
        assert!(matches!(ends(file.path()), Err(Trouble::Failed(_))));
    }
}
