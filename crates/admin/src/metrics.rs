//! The Prometheus exposition: our atomics, read at each scrape.
//!
//! One collector writes family after family; nothing is counted here. Names follow
//! Prometheus' conventions: base units, `_total` on counters, one meaning a label.

use crate::answers;
mod alert;
mod check;
mod fail_over;
mod job;
mod keys;
mod load;
mod node;
mod recovery;
mod scale;
mod slo;
mod standby;

use crate::ports::{AdminState, Healing, Source};
use crate::process;
use crate::view::{AlertsView, BatchView, GatewayView, KeyView, ScaleView, SloView, TenantView};
use evenkeel_domain::check::CheckStatus;
use evenkeel_domain::health::ALL_HEALTH;
use evenkeel_domain::histogram::Histogram;
use evenkeel_domain::job::JobStatus;
use evenkeel_domain::node::NodeStatus;
use evenkeel_domain::orchestrator::InstanceStatus;
use evenkeel_domain::pool::Counts;
use evenkeel_domain::pool::RESUMED;
use evenkeel_domain::{Gate, Pool, Replica, outcome};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What Prometheus asks for when it can read it.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text";
/// The exposition as OpenMetrics.
pub(crate) const OPEN_METRICS_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The exposition in Prometheus' older format, for whoever does not ask for the newer.
pub(crate) const PLAIN_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics as OpenMetrics.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub(crate) fn open_metrics(state: &Arc<AdminState>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Reading::take(state)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// The same in the older format: there, the type belongs to the counter's whole name, and
/// units and the end are not marked.
pub(crate) fn plain(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if line.starts_with("# HELP ") {
            help = line;
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            let suffix = if family.ends_with(" counter") { "_total" } else { "" };
            let (name, kind) = family.split_once(' ').unwrap_or((family, "untyped"));
            let text = help.splitn(4, ' ').nth(3).unwrap_or("");
            out.push_str(&format!("# HELP {name}{suffix} {text}\n# TYPE {name}{suffix} {kind}\n"));
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// What is read once for a scrape, so that its families agree with each other.
struct Reading {
    version: &'static str,
    pools: Vec<Arc<Pool>>,
    instances: Vec<InstanceStatus>,
    gateway: GatewayView,
    batch: Option<BatchView>,
    keys: Vec<KeyView>,
    tenants: Vec<TenantView>,
    recovery: Option<Arc<dyn Healing>>,
    scales: BTreeMap<String, ScaleView>,
    jobs: Vec<JobStatus>,
    nodes: Vec<NodeStatus>,
    checks: Vec<CheckStatus>,
    slo: Option<SloView>,
    alerts: Option<AlertsView>,
}

impl Reading {
    fn take(state: &AdminState) -> Self {
        let source: &dyn Source = &*state.source;
        Self {
            version: state.version,
            pools: source.services().into_iter().map(|(_, pool)| pool).collect(),
            instances: source.instances(),
            gateway: source.gateway(),
            batch: source.batch(),
            keys: source.keys(),
            tenants: source.tenants(),
            recovery: state.recovery.clone(),
            scales: source.scales(),
            jobs: source.jobs(),
            nodes: source.nodes(),
            checks: source.checks(),
            slo: source.slo(),
            alerts: state.alerts.as_ref().map(|alerting| alerting.view()),
        }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

impl Collector for Reading {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Families(encoder);
        self.requests(&mut to)?;
        self.service_counters(&mut to)?;
        self.streams(&mut to)?;
        self.replicas(&mut to)?;
        self.room(&mut to)?;
        self.queue(&mut to)?;
        self.instances(&mut to)?;
        self.scales(&mut to)?;
        self.jobs(&mut to)?;
        self.nodes(&mut to)?;
        self.checks(&mut to)?;
        self.slo(&mut to)?;
        self.alerts(&mut to)?;
        self.keys(&mut to)?;
        self.tenants(&mut to)?;
        self.whole(&mut to)?;
        if let Some(batch) = &self.batch {
            batches(&mut to, batch)?;
        }
        if let Some(healing) = &self.recovery {
            recovery::encode(&mut to, &**healing)?;
        }
        this_process(&mut to, self.gateway.started_unix_ms)
    }
}

type Label<'a> = (&'static str, &'a str);

/// Writes families.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn family(&mut self, name: &str, help: &str, kind: MetricType, each: Each<'_>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        each(&mut family)
    }

    fn counters(&mut self, name: &str, help: &str, each: Each<'_>) -> fmt::Result {
        self.family(name, help, MetricType::Counter, each)
    }

    fn gauges(&mut self, name: &str, help: &str, each: Each<'_>) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, each)
    }

    fn histograms(&mut self, name: &str, help: &str, each: Each<'_>) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, each)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, &mut |to| to.encode_counter::<NoLabelSet, _, u64>(&value, None))
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Into<Option<f64>>) -> fmt::Result {
        let Some(value) = value.into() else { return Ok(()) };
        self.gauges(name, help, &mut |to| to.encode_gauge(&value))
    }
}

type Each<'a> = &'a mut dyn FnMut(&mut MetricEncoder<'_>) -> fmt::Result;

fn count(to: &mut MetricEncoder<'_>, labels: &[Label<'_>], value: u64) -> fmt::Result {
    to.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn gauge(to: &mut MetricEncoder<'_>, labels: &[Label<'_>], value: f64) -> fmt::Result {
    to.encode_family(&labels)?.encode_gauge(&value)
}

fn histogram(to: &mut MetricEncoder<'_>, labels: &[Label<'_>], of: &Histogram) -> fmt::Result {
    let times = of.snapshot();
    let total = times.count();
    let mut below = 0;
    let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(28);
    for (edge, seen) in times.cumulative_octaves() {
        buckets.push((edge, seen - below));
        below = seen;
    }
    buckets.push((f64::INFINITY, total - below));
    let sum = times.sum_seconds();
    if labels.is_empty() {
        return to.encode_histogram::<NoLabelSet>(sum, total, &buckets, None);
    }
    to.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, total, &buckets, None)
}

/// A family: its name, its help, where its value is.
type Row<T, V> = (&'static str, &'static str, fn(&T) -> V);

const SERVICE_COUNTERS: [Row<Counts, u64>; 11] = [
    ("evenkeel_retries", "Attempts beyond each request's first, after soft evidence.", |c| {
        c.retries.load(Relaxed)
    }),
    ("evenkeel_resends", "Attempts beyond each request's first, after hard evidence.", |c| {
        c.resends.load(Relaxed)
    }),
    ("evenkeel_raced", "Second attempts raced against a suspect replica.", |c| {
        c.raced.load(Relaxed)
    }),
    ("evenkeel_hedges", "Second attempts made because the first token was late.", |c| {
        c.hedges.load(Relaxed)
    }),
    ("evenkeel_rescues", "Second attempts beside silent or doubtful streams.", |c| {
        c.rescues.load(Relaxed)
    }),
    ("evenkeel_broken_streams", "Streams that broke and could not be carried on.", |c| {
        c.broken_streams.load(Relaxed)
    }),
    ("evenkeel_holds", "Requests that waited for a place.", |c| c.holds.load(Relaxed)),
    ("evenkeel_unreplayable", "Requests sent once, without a copy to replay.", |c| {
        c.unreplayable.load(Relaxed)
    }),
    ("evenkeel_panic_picks", "Picks made with no replica open.", |c| c.panics.load(Relaxed)),
    ("evenkeel_quarantined", "Requests whose hash is quarantined.", |c| {
        c.quarantined.load(Relaxed)
    }),
    ("evenkeel_stream_events", "Server-sent events relayed.", |c| c.events.load(Relaxed)),
];

const SERVICE_GAUGES: [Row<Counts, u32>; 3] = [
    ("evenkeel_requests_active", "Requests under way.", |c| c.active.load(Relaxed)),
    ("evenkeel_requests_held", "Requests that wait for a place.", |c| {
        c.held.load(Relaxed) + c.gathering.load(Relaxed)
    }),
    ("evenkeel_retries_active", "Retries under way.", |c| c.retrying.load(Relaxed)),
];

impl Reading {
    fn requests(&self, to: &mut Families<'_>) -> fmt::Result {
        to.counters(
            "evenkeel_requests",
            "Requests by how they ended for the client.",
            &mut |to| {
                self.pools.iter().try_for_each(|pool| {
                    outcome::ALL.into_iter().try_for_each(|o| {
                        let labels = [("service", &*pool.name), ("outcome", o.label())];
                        count(to, &labels, pool.counts.requests(o))
                    })
                })
            },
        )?;
        let help = "Time from a request's head to its answer's end.";
        to.histograms("evenkeel_request_duration_seconds", help, &mut |to| {
            self.pools
                .iter()
                .try_for_each(|pool| histogram(to, &[("service", &*pool.name)], &pool.counts.total))
        })?;
        let help = "Time from a request's head to its answer's head.";
        to.histograms("evenkeel_first_byte_seconds", help, &mut |to| {
            self.pools.iter().try_for_each(|pool| {
                histogram(to, &[("service", &*pool.name)], &pool.counts.first_byte)
            })
        })
    }

    fn streams(&self, to: &mut Families<'_>) -> fmt::Result {
        let help = "Streams that went on elsewhere when their replica failed, by how.";
        to.counters("evenkeel_resumed", help, &mut |to| {
            self.pools.iter().try_for_each(|pool| {
                RESUMED.iter().zip(&pool.counts.resumed).try_for_each(|(rung, resumed)| {
                    let labels = [("service", &*pool.name), ("rung", rung)];
                    count(to, &labels, resumed.load(Relaxed))
                })
            })
        })?;
        let help = "Time from sending a request for a stream to its first token.";
        to.histograms("evenkeel_first_token_seconds", help, &mut |to| {
            self.pools.iter().try_for_each(|pool| {
                histogram(to, &[("service", &*pool.name)], &pool.counts.first_token)
            })
        })?;
        let help = "Gap between two tokens of a stream; one in a few is counted.";
        to.histograms("evenkeel_token_gap_seconds", help, &mut |to| {
            self.pools
                .iter()
                .try_for_each(|pool| histogram(to, &[("service", &*pool.name)], &pool.counts.gap))
        })
    }

    fn service_counters(&self, to: &mut Families<'_>) -> fmt::Result {
        for (name, help, read) in SERVICE_COUNTERS {
            to.counters(name, help, &mut |to| {
                self.pools
                    .iter()
                    .try_for_each(|pool| count(to, &[("service", &*pool.name)], read(&pool.counts)))
            })?;
        }
        for (name, help, read) in answers::COUNTERS {
            to.counters(name, help, &mut |to| {
                self.pools.iter().try_for_each(|pool| {
                    count(to, &[("service", &*pool.name)], read(&pool.counts.answers))
                })
            })?;
        }
        for (name, help, read) in answers::GAUGES {
            to.gauges(name, help, &mut |to| {
                self.pools.iter().try_for_each(|pool| {
                    let value = read(&pool.counts.answers) as f64;
                    gauge(to, &[("service", &*pool.name)], value)
                })
            })?;
        }
        for (name, help, read) in SERVICE_GAUGES {
            to.gauges(name, help, &mut |to| {
                self.pools.iter().try_for_each(|pool| {
                    gauge(to, &[("service", &*pool.name)], f64::from(read(&pool.counts)))
                })
            })?;
        }
        self.promotions(to)?;
        self.failed_over(to)?;
        let help = "Replicas that take traffic.";
        to.gauges("evenkeel_replicas_open", help, &mut |to| {
            self.pools.iter().try_for_each(|p| gauge(to, &[("service", &*p.name)], p.open() as f64))
        })?;
        let help = "Replicas meant to take traffic.";
        to.gauges("evenkeel_replicas_expected", help, &mut |to| {
            self.pools
                .iter()
                .try_for_each(|p| gauge(to, &[("service", &*p.name)], p.expected() as f64))
        })
    }

    fn each_replica(
        &self,
        mut each: impl FnMut([Label<'_>; 2], &Replica) -> fmt::Result,
    ) -> fmt::Result {
        for pool in &self.pools {
            for replica in pool.members().iter() {
                each([("service", &*pool.name), ("replica", &*replica.id.name)], replica)?;
            }
        }
        Ok(())
    }

    fn replicas(&self, to: &mut Families<'_>) -> fmt::Result {
        to.counters("evenkeel_attempts", "Attempts by how they ended.", &mut |to| {
            self.each_replica(|[service, name], replica| {
                outcome::ALL.into_iter().try_for_each(|o| {
                    let labels = [service, name, ("outcome", o.label())];
                    count(to, &labels, replica.live.count(o))
                })
            })
        })?;
        let help = "Time from sending an attempt to its answer's head.";
        to.histograms("evenkeel_replica_first_byte_seconds", help, &mut |to| {
            self.each_replica(|labels, replica| histogram(to, &labels, &replica.live.first_byte))
        })?;
        let help = "1 for the state a replica is in, 0 for the others.";
        to.gauges("evenkeel_replica_health", help, &mut |to| {
            self.each_replica(|[service, name], replica| {
                let is = replica.live.health();
                ALL_HEALTH.into_iter().try_for_each(|state| {
                    let labels = [service, name, ("state", state.label())];
                    gauge(to, &labels, f64::from(u8::from(state == is)))
                })
            })
        })?;
        self.replica_gauges(to)
    }

    fn replica_gauges(&self, to: &mut Families<'_>) -> fmt::Result {
        let gauges: [Row<Replica, f64>; 3] = [
            ("evenkeel_replica_in_flight", "Attempts under way.", |r| r.live.in_flight().into()),
            ("evenkeel_replica_open", "1 for a replica that takes traffic.", |r| {
                f64::from(u8::from(r.live.gate() == Gate::Open))
            }),
            ("evenkeel_replica_weight", "Share with slow start applied.", |r| {
                r.effective_weight().into()
            }),
        ];
        for (name, help, read) in gauges {
            to.gauges(name, help, &mut |to| {
                self.each_replica(|labels, replica| gauge(to, &labels, read(replica)))
            })?;
        }
        Ok(())
    }

    fn instances(&self, to: &mut Families<'_>) -> fmt::Result {
        let labels = |i: &InstanceStatus| (i.service.clone(), i.name.clone());
        to.counters("evenkeel_replica_restarts", "Starts after the first.", &mut |to| {
            self.instances.iter().try_for_each(|i| {
                let (service, name) = labels(i);
                count(to, &[("service", &service), ("replica", &name)], i.restarts)
            })
        })?;
        let help = "1 while a replica's process ends again and again.";
        to.gauges("evenkeel_replica_crash_loop", help, &mut |to| {
            self.instances.iter().try_for_each(|i| {
                let (service, name) = labels(i);
                let value = f64::from(u8::from(i.crash_loop));
                gauge(to, &[("service", &service), ("replica", &name)], value)
            })
        })
    }

    fn whole(&self, to: &mut Families<'_>) -> fmt::Result {
        let g = &self.gateway;
        let yes = |is: bool| f64::from(u8::from(is));
        to.gauges("evenkeel_build_info", "1, with the version of the program.", &mut |to| {
            gauge(to, &[("version", self.version)], 1.0)
        })?;
        to.gauge("evenkeel_connections", "Client connections open.", g.connections as f64)?;
        let help = "Bytes of bodies held in memory.";
        to.gauge("evenkeel_memory_used_bytes", help, g.memory_used_bytes as f64)?;
        let help = "Bytes of bodies that may be held in memory.";
        to.gauge("evenkeel_memory_limit_bytes", help, g.memory_limit_bytes as f64)?;
        to.gauge("evenkeel_draining", "1 while the gateway drains.", yes(g.draining))?;
        let help = "Configurations in force so far.";
        to.gauge("evenkeel_config_generation", help, g.config_generation as f64)?;
        let help = "1 unless the last reload was refused.";
        to.gauge("evenkeel_config_last_reload_successful", help, yes(g.reload_error.is_none()))?;
        to.counter("evenkeel_rejected", "Requests refused before any service.", g.rejected)?;
        let help = "Signals lost on a full channel.";
        to.counter("evenkeel_signals_dropped", help, g.signals_dropped)?;
        let help = "Lines of the access log lost.";
        to.counter("evenkeel_access_log_lines_lost", help, g.access_lines_lost)?;
        let help = "Spans that could not be delivered.";
        to.counter("evenkeel_spans_lost", help, g.spans_lost)
    }
}

fn batches(to: &mut Families<'_>, b: &BatchView) -> fmt::Result {
    to.gauges("evenkeel_batches", "Batches that are remembered, by status.", &mut |to| {
        b.batches.iter().try_for_each(|(status, n)| gauge(to, &[("status", status)], *n as f64))
    })?;
    let help = "Lines of batches answered, by whether with success.";
    to.counters("evenkeel_batch_lines", help, &mut |to| {
        count(to, &[("result", "answered")], b.lines_answered)?;
        count(to, &[("result", "failed")], b.lines_failed)
    })?;
    let help = "Lines of batches to be sent again, by why.";
    to.counters("evenkeel_batch_lines_put_off", help, &mut |to| {
        count(to, &[("why", "busy")], b.calls_refused)?;
        count(to, &[("why", "fault")], b.calls_faulted)
    })?;
    let help = "Lines of batches being answered.";
    to.gauge("evenkeel_batch_lines_active", help, b.lines_under_way as f64)?;
    let leads = f64::from(u8::from(b.executes_here));
    to.gauge("evenkeel_batch_leads", "1 where batches are executed.", leads)?;
    to.gauge("evenkeel_store_files", "Files in the store.", b.files as f64)?;
    let help = "Bytes of files and answers in the store.";
    to.gauge("evenkeel_store_bytes", help, b.store_bytes as f64)?;
    let help = "Bytes that the store takes in.";
    to.gauge("evenkeel_store_limit_bytes", help, b.store_limit_bytes as f64)
}

/// The figures every Prometheus client gives, under their usual names.
fn this_process(to: &mut Families<'_>, started_unix_ms: u64) -> fmt::Result {
    let stats = process::read();
    let float = |n: Option<u64>| n.map(|n| n as f64);
    if let Some(seconds) = stats.cpu_seconds {
        to.counters("process_cpu_seconds", "User and system time spent.", &mut |to| {
            to.encode_counter::<NoLabelSet, _, u64>(&seconds, None)
        })?;
    }
    let start = started_unix_ms as f64 / 1e3;
    to.gauge("process_start_time_seconds", "When it started, since the Unix epoch.", start)?;
    let help = "Memory resident.";
    to.gauge("process_resident_memory_bytes", help, float(stats.resident_bytes))?;
    let help = "Memory mapped.";
    to.gauge("process_virtual_memory_bytes", help, float(stats.virtual_bytes))?;
    to.gauge("process_threads", "Threads.", float(stats.threads))?;
    to.gauge("process_open_fds", "File descriptors open.", float(stats.open_fds))?;
    to.gauge("process_max_fds", "File descriptors allowed.", float(stats.max_fds))
}
