//! Jobs: as many series as are configured.

use super::{Families, Reading, count, gauge};
use evenkeel_domain::clock;
use evenkeel_domain::job::JobStage;
use std::fmt;

impl Reading {
    /// Where jobs are, how often they failed, and what that cost.
    pub(super) fn jobs(&self, to: &mut Families<'_>) -> fmt::Result {
        if self.jobs.is_empty() {
            return Ok(());
        }
        to.gauges("evenkeel_job_stage", "1 for the stage that a job is in.", &mut |to| {
            self.jobs.iter().try_for_each(|job| {
                JobStage::ALL.iter().try_for_each(|stage| {
                    let labels = [("job", &*job.name), ("stage", stage.label())];
                    gauge(to, &labels, f64::from(u8::from(job.stage == *stage)))
                })
            })
        })?;
        to.counters("evenkeel_job_starts", "Starts of a job.", &mut |to| {
            self.jobs.iter().try_for_each(|job| count(to, &[("job", &job.name)], job.starts))
        })?;
        to.counters("evenkeel_job_failures", "Failures of a job.", &mut |to| {
            self.jobs.iter().try_for_each(|job| count(to, &[("job", &job.name)], job.failures))
        })?;
        let help = "Work lost by failures, since the first start.";
        to.gauges("evenkeel_job_lost_seconds", help, &mut |to| {
            self.jobs
                .iter()
                .try_for_each(|job| gauge(to, &[("job", &job.name)], job.lost_ms as f64 / 1e3))
        })?;
        let (help, now) = ("Time since the last good checkpoint.", clock::unix_millis());
        to.gauges("evenkeel_job_checkpoint_age_seconds", help, &mut |to| {
            self.jobs.iter().try_for_each(|job| match job.checkpoint_unix_ms {
                None => Ok(()),
                Some(at) => gauge(to, &[("job", &job.name)], now.saturating_sub(at) as f64 / 1e3),
            })
        })
    }
}
