//! What services promised and kept. Counters go on across restarts.

use super::{Families, Label, Reading, count, gauge};
use crate::view::{ServiceSlo, SpreadView};
use prometheus_client::encoding::{MetricEncoder, NoLabelSet};
use std::collections::BTreeMap;
use std::fmt;

/// A family with one value for each service, if there is one.
type Gauge = (&'static str, &'static str, fn(&ServiceSlo) -> Option<f64>);

const GAUGES: [Gauge; 7] = [
    ("evenkeel_slo_objective_ratio", "Share of time and requests that was promised.", |s| {
        Some(s.objective)
    }),
    ("evenkeel_slo_window_seconds", "The time over which it was promised.", |s| {
        Some(s.window_seconds)
    }),
    ("evenkeel_slo_time_availability_ratio", "up / (up + down) over the window.", |s| {
        s.time.availability
    }),
    ("evenkeel_slo_request_availability_ratio", "good / valid over the window.", |s| {
        s.requests.availability
    }),
    (
        "evenkeel_slo_budget_left_ratio",
        "Share of the error budget that is left, of what is measured the least.",
        |s| s.left,
    ),
    (
        "evenkeel_slo_budget_exhausted_timestamp_seconds",
        "When the error budget is used up at the present burn; absent while it is not.",
        |s| Some(s.exhausted.as_ref()?.at_unix_ms as f64 / 1e3),
    ),
    ("evenkeel_slo_since_timestamp_seconds", "Since when the service is known.", |s| {
        Some(s.since_unix_ms as f64 / 1e3)
    }),
];

impl Reading {
    /// All of it.
    pub(super) fn slo(&self, to: &mut Families<'_>) -> fmt::Result {
        let Some(slo) = &self.slo else { return Ok(()) };
        let help = "1 while the account of availability is kept; 0 while it cannot be written.";
        to.gauge("evenkeel_slo_works", help, f64::from(u8::from(slo.error.is_none())))?;
        let help = "How often the wall clock was stepped.";
        to.counter("evenkeel_slo_clock_steps", help, slo.clock_steps)?;
        let services = &slo.services;
        if services.is_empty() {
            return Ok(());
        }
        for (name, help, value) in GAUGES {
            to.gauges(name, help, &mut |to| {
                services.iter().try_for_each(|s| match value(s) {
                    Some(value) => gauge(to, &[("service", &s.service)], value),
                    None => Ok(()),
                })
            })?;
        }
        totals(to, services)?;
        rules(to, services)?;
        spreads(to, services)
    }
}

fn totals(to: &mut Families<'_>, services: &[ServiceSlo]) -> fmt::Result {
    let help = "Valid requests, by how they were answered.";
    to.counters("evenkeel_slo_requests", help, &mut |to| {
        services.iter().try_for_each(|s| {
            let all = [("good", s.total.good), ("bad", s.total.bad)];
            all.into_iter().try_for_each(|(result, n)| {
                count(to, &[("service", &s.service), ("result", result)], n)
            })
        })
    })?;
    let help = "Good requests whose answer began within the latency objective.";
    to.counters("evenkeel_slo_requests_in_time", help, &mut |to| {
        services.iter().try_for_each(|s| count(to, &[("service", &s.service)], s.total.in_time))
    })?;
    let help = "Time, by what it was: up, down, planned by a person, or unknown.";
    to.counters("evenkeel_slo_time_seconds", help, &mut |to| {
        services.iter().try_for_each(|s| {
            let t = &s.total;
            let all = [
                ("up", t.up_seconds),
                ("down", t.down_seconds),
                ("planned", t.planned_seconds),
                ("unknown", t.unknown_seconds),
            ];
            all.into_iter().try_for_each(|(state, seconds)| {
                let labels: &[Label<'_>] = &[("service", &s.service), ("state", state)];
                to.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&seconds, None)
            })
        })
    })
}

fn rules(to: &mut Families<'_>, services: &[ServiceSlo]) -> fmt::Result {
    let help = "How many times faster than allowed the budget is used, by window.";
    to.gauges("evenkeel_slo_burn_rate", help, &mut |to| {
        services.iter().try_for_each(|s| {
            // Two rules share a window of six hours: each is told once.
            let all = s.rules.iter().flat_map(|r| {
                let both = [(r.long_seconds, r.long), (r.short_seconds, r.short)];
                both.map(|(window, burn)| ((&*r.sli, format!("{window}")), burn))
            });
            let once: BTreeMap<_, _> = all.collect();
            once.into_iter().try_for_each(|((sli, window), burn)| {
                let labels: &[Label<'_>] =
                    &[("service", &s.service), ("sli", sli), ("window_seconds", &window)];
                gauge(to, labels, burn)
            })
        })
    })?;
    let help = "1 while a burn-rate rule speaks.";
    to.gauges("evenkeel_slo_firing", help, &mut |to| {
        services.iter().try_for_each(|s| {
            s.rules.iter().try_for_each(|r| {
                let labels: &[Label<'_>] = &[
                    ("service", &s.service),
                    ("rule", &r.rule),
                    ("sli", &r.sli),
                    ("severity", &r.severity),
                ];
                gauge(to, labels, f64::from(u8::from(r.since_unix_ms.is_some())))
            })
        })
    })
}

fn spreads(to: &mut Families<'_>, services: &[ServiceSlo]) -> fmt::Result {
    type Of = fn(&ServiceSlo) -> Option<&SpreadView>;
    let all: [(&str, &str, Of); 3] = [
        ("evenkeel_slo_detect_seconds", "From the first sign until known (MTTD).", |s| {
            s.detect.as_ref()
        }),
        ("evenkeel_slo_repair_seconds", "From the first sign until it served (MTTR).", |s| {
            s.repair.as_ref()
        }),
        ("evenkeel_slo_between_seconds", "From one incident to the next (MTBF).", |s| {
            s.between.as_ref()
        }),
    ];
    for (name, help, of) in all {
        to.gauges(name, help, &mut |to| {
            services.iter().try_for_each(|s| of(s).map_or(Ok(()), |spread| one(to, s, spread)))
        })?;
        // What a quantile is worth depends on how many there are.
        to.gauges(&name.replace("_seconds", "_count"), "Of how many.", &mut |to| {
            services.iter().try_for_each(|s| {
                let count = of(s).map_or(0, |spread| spread.count);
                gauge(to, &[("service", &s.service)], count as f64)
            })
        })?;
    }
    Ok(())
}

fn one(to: &mut MetricEncoder<'_>, s: &ServiceSlo, spread: &SpreadView) -> fmt::Result {
    let all = [("0.5", spread.p50_seconds), ("0.9", spread.p90_seconds), ("1", spread.max_seconds)];
    all.into_iter().try_for_each(|(quantile, seconds)| {
        gauge(to, &[("service", &s.service), ("quantile", quantile)], seconds)
    })
}
