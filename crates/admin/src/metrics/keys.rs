//! Families about keys and tenants: as many series as are configured, and no more.

use super::{Families, Label, Reading, count, gauge};
use crate::view::UsageView;
use prometheus_client::encoding::MetricEncoder;
use std::fmt;

impl Reading {
    /// What was asked for with each key.
    pub(super) fn keys(&self, to: &mut Families<'_>) -> fmt::Result {
        if self.keys.is_empty() {
            return Ok(());
        }
        let each = |each: Each<'_>| {
            self.keys.iter().try_for_each(|key| {
                let tenant = key.tenant.as_deref().unwrap_or_default();
                each(&[("key", &*key.id), ("tenant", tenant)], &key.usage)
            })
        };
        families(to, "key", "with a key", &each)
    }

    /// What was asked for by each tenant.
    pub(super) fn tenants(&self, to: &mut Families<'_>) -> fmt::Result {
        if self.tenants.is_empty() {
            return Ok(());
        }
        let each = |each: Each<'_>| {
            self.tenants
                .iter()
                .try_for_each(|tenant| each(&[("tenant", &*tenant.name)], &tenant.usage))
        };
        families(to, "tenant", "by a tenant", &each)
    }
}

type Each<'a> = &'a mut dyn FnMut(&[Label<'_>], &UsageView) -> fmt::Result;

fn families(
    to: &mut Families<'_>,
    of: &str,
    whose: &str,
    all: &dyn Fn(Each<'_>) -> fmt::Result,
) -> fmt::Result {
    let name = |what: &str| format!("evenkeel_{of}_{what}");
    let help = format!("Requests made {whose} and taken on.");
    to.counters(&name("requests"), &help, &mut |to| {
        all(&mut |labels, usage| count(to, labels, usage.requests))
    })?;
    let help = format!("Requests made {whose} and refused for a limit.");
    to.counters(&name("refused"), &help, &mut |to| {
        all(&mut |labels, usage| count(to, labels, usage.refused))
    })?;
    let help = format!("Tokens of prompts and answers of requests made {whose}.");
    to.counters(&name("tokens"), &help, &mut |to| {
        all(&mut |labels, usage| tokens(to, labels, usage))
    })?;
    let help = format!("Streams under way that were asked for {whose}.");
    to.gauges(&name("streams"), &help, &mut |to| {
        all(&mut |labels, usage| gauge(to, labels, f64::from(usage.streams)))
    })
}

fn tokens(to: &mut MetricEncoder<'_>, labels: &[Label<'_>], usage: &UsageView) -> fmt::Result {
    for (kind, n) in [("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens)] {
        count(to, &[labels, &[("kind", kind)]].concat(), n)?;
    }
    Ok(())
}
