//! A part of Evenkeel's own does not work: the journal, the account, the store of alerts, or a
//! configuration that was refused.

use super::{Source, World, finding};
use evenkeel_domain::alert::{Finding, Millis, Severity};

/// Each is tried again every second, and all begin within seconds of a start.
const LASTING: Millis = 15_000;

pub(super) struct Part;

impl Source for Part {
    fn name(&self) -> &'static str {
        "evenkeel"
    }

    fn about(&self) -> &'static str {
        "recovery's journal, the account or alerts cannot be written, or a reload was refused"
    }

    fn severity(&self) -> Severity {
        Severity::Ticket
    }

    fn lasting(&self) -> Millis {
        LASTING
    }

    fn look(&self, world: &World) -> Vec<Finding> {
        let broken = world.broken.iter().map(|broken| {
            let what = match broken.part {
                "recovery" => "nothing is healed: recovery does not work".to_owned(),
                "reload" => "the changed configuration was refused; the old one stays".to_owned(),
                part => format!("Evenkeel's {part} cannot be written"),
            };
            let mut one = finding(self, broken.part, "", what, broken.why.clone());
            one.labels.insert("part".into(), broken.part.into());
            // Clients are served; but the next fault finds nobody to mend it.
            if broken.part == "recovery" {
                one.severity = Severity::Page;
            }
            one.affected = "clients are served as before".into();
            one.next = match broken.part {
                "reload" => "evenkeel check".into(),
                _ => "evenkeel status; df -h; the log of Evenkeel".into(),
            };
            one
        });
        broken.collect()
    }
}
