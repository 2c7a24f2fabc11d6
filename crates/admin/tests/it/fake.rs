//! A gateway that is none: fixed services, orders that are only noted.

#![allow(dead_code, clippy::unwrap_used, reason = "tests and the example each use a part")]

use evenkeel_admin::view::{GatewayView, OverrideView};
use evenkeel_admin::{AdminState, Control, ControlError, ControlFuture, Follow, Held, Source};
use evenkeel_domain::check::{CheckState, CheckStatus, CheckValue, Unit};
use evenkeel_domain::event::EventLog;
use evenkeel_domain::job::JobOrder;
use evenkeel_domain::orchestrator::{InstanceStatus, Phase};
use evenkeel_domain::pool::Refused;
use evenkeel_domain::replica::{Identity, Secret, name_hash};
use evenkeel_domain::room::Told;
use evenkeel_domain::settings::{ServiceSettings, Tier};
use evenkeel_domain::{Endpoint, Health, Outcome, Pool, Replica, ReplicaFault, clock};
use evenkeel_wire::TcpDialer;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Settings of a service with defaults for all else.
pub(crate) fn settings(name: &str, tier: Tier) -> ServiceSettings {
    ServiceSettings {
        name: name.into(),
        models: vec!["*".into()],
        aliases: Default::default(),
        tier,
        protocol: Default::default(),
        balance: "least_requests".into(),
        balance_options: Default::default(),
        deadlines: Default::default(),
        retry: Default::default(),
        hold: Default::default(),
        hedge: Default::default(),
        concurrency: Default::default(),
        queue: Default::default(),
        resume: Default::default(),
        probe: Default::default(),
        ejection: Default::default(),
        answers: Default::default(),
        limits: Default::default(),
        slo: Default::default(),
        max_body: 1 << 20,
        max_replay: 1 << 20,
    }
}

/// A replica at a loopback port.
pub(crate) fn replica(service: &str, index: u16, supervised: bool) -> Arc<Replica> {
    let name = format!("{service}-{index}");
    let endpoint = Endpoint::loopback(8000 + index);
    let dial = Arc::new(TcpDialer::new(&endpoint));
    Arc::new(Replica::new(Identity {
        key: name_hash(&name),
        name_hash: name_hash(&name),
        name: name.into(),
        service: service.into(),
        endpoint,
        revision: "r1".into(),
        weight: 1.0,
        max_in_flight: 0,
        headers: vec![("authorization".into(), Secret::new("replica-secret".into()))],
        h2: false,
        model: None,
        supervised,
        startup_deadline: None,
        standby: None,
        dial,
    }))
}

/// All of the fake.
pub(crate) struct Fake {
    /// Services.
    pub(crate) services: Vec<(Arc<ServiceSettings>, Arc<Pool>)>,
    /// Processes.
    pub(crate) instances: Vec<InstanceStatus>,
    /// Whether it drains.
    pub(crate) draining: AtomicBool,
    /// Orders given.
    pub(crate) orders: Arc<Mutex<Vec<String>>>,
    /// Lines that appear while the log is followed.
    pub(crate) new_lines: Mutex<Vec<String>>,
    /// When it was started.
    pub(crate) started_unix_ms: u64,
}

impl Fake {
    /// `chat` (core, three replicas) and `batch` (best effort, none).
    pub(crate) fn new() -> Arc<Self> {
        let chat = Arc::new(Pool::new("chat".into()));
        let now = clock::now();
        let members: Vec<_> = (0..3).map(|i| replica("chat", i, i != 2)).collect();
        members[0].live.set_health(Health::Healthy, false, "probe: 200 in 3 ms".into(), now);
        members[0].live.enter();
        members[0].live.room.set_limit(4);
        members[0].live.room.set_found(true);
        let told = Told { at: now, running: 4, waiting: 3, slots: None, full: false, ours: 1 };
        members[0].live.room.tell(Some(told));
        members[1].live.set_health(
            Health::Suspect,
            false,
            "first byte late: 2.1 s where 310 ms is normal (gateway)".into(),
            now,
        );
        members[2].live.set_health(
            Health::Isolated,
            true,
            "connection refused (probe), 5 faults in a row (gateway)\x1b[2J".into(),
            now,
        );
        for _ in 0..99 {
            members[0].live.record_outcome(Outcome::Ok, now);
            members[0].live.record_first_byte(Duration::from_millis(40));
            chat.counts.requests[Outcome::Ok.index()].fetch_add(1, Relaxed);
            chat.counts.first_byte.record(Duration::from_millis(40));
            chat.counts.total.record(Duration::from_millis(900));
        }
        let fault = Outcome::ReplicaFault(ReplicaFault::Stalled);
        members[1].live.record_outcome(fault, now);
        chat.counts.requests[fault.index()].fetch_add(1, Relaxed);
        chat.counts.retries.fetch_add(4, Relaxed);
        chat.counts.refuse(Tier::Core, Refused::Overloaded);
        chat.counts.refuse(Tier::Core, Refused::Overloaded);
        chat.counts.set_overloaded(Tier::BestEffort, true);
        chat.counts.queue_wait.record(Duration::from_millis(70));
        chat.counts.active.fetch_add(1, Relaxed);
        chat.set_members(members);
        let batch = Arc::new(Pool::new("batch".into()));
        Arc::new(Self {
            services: vec![
                (Arc::new(settings("chat", Tier::Core)), chat),
                (Arc::new(settings("batch", Tier::BestEffort)), batch),
            ],
            instances: instances(),
            draining: AtomicBool::new(false),
            orders: Arc::default(),
            new_lines: Mutex::default(),
            started_unix_ms: clock::unix_millis().saturating_sub(7_500_000),
        })
    }

    /// The state with this source and control.
    pub(crate) fn state(self: &Arc<Self>, token: Option<&str>) -> AdminState {
        AdminState {
            recovery: None,
            alerts: None,
            source: self.clone(),
            control: self.clone(),
            events: Arc::new(EventLog::default()),
            token: token.map(|token| Secret::new(token.into())),
            version: "0.1.0",
            hosts: vec!["ops.internal".into()],
        }
    }

    fn note(&self, order: String) -> ControlFuture<'_> {
        Box::pin(async move {
            if order.contains("nobody") {
                let what = "no replica is named \"nobody\"";
                return Err(ControlError::not_found(what, "`evenkeel status` lists them"));
            }
            if order.contains("external") {
                return Err(ControlError::conflict("it is not ours", "restart it where it runs"));
            }
            self.orders.lock().unwrap().push(order);
            Ok(())
        })
    }
}

fn instances() -> Vec<InstanceStatus> {
    let started_ms = Some(clock::unix_millis().saturating_sub(125_000));
    vec![
        InstanceStatus {
            phase: Phase::Ready,
            pid: Some(4242),
            port: Some(8000),
            started_ms,
            log: Some("/var/log/evenkeel/chat-0.log".into()),
            ..InstanceStatus::new("chat-0", "chat")
        },
        InstanceStatus {
            phase: Phase::CrashLoop { until_ms: clock::unix_millis() + 20_500 },
            restarts: 7,
            crash_loop: true,
            last_exit: Some("exit code 1 after 3 s".into()),
            ..InstanceStatus::new("chat-1", "chat")
        },
        InstanceStatus {
            phase: Phase::Starting { since_ms: 0, deadline_ms: u64::MAX },
            pid: Some(4243),
            progress: Some("loading tensors 42%".into()),
            started_ms,
            ..InstanceStatus::new("batch-0", "batch")
        },
    ]
}

impl Source for Fake {
    fn slo(&self) -> Option<evenkeel_admin::view::SloView> {
        let chat =
            evenkeel_admin::view::ServiceSlo { service: "chat".into(), ..Default::default() };
        Some(evenkeel_admin::view::SloView { services: vec![chat], ..Default::default() })
    }

    fn services(&self) -> Vec<(Arc<ServiceSettings>, Arc<Pool>)> {
        self.services.clone()
    }

    fn instances(&self) -> Vec<InstanceStatus> {
        self.instances.clone()
    }

    fn overrides(&self) -> Vec<OverrideView> {
        vec![OverrideView {
            replica: "chat-2".into(),
            order: "isolate".into(),
            owner: "night shift".into(),
            until_unix_ms: Some(clock::unix_millis() + 1_500_500),
        }]
    }

    fn checks(&self) -> Vec<CheckStatus> {
        let check = |name: &str, subject: &str, state, why: &str| CheckStatus {
            ahead: None,
            check: name.into(),
            kind: "disk".into(),
            subject: subject.into(),
            state,
            since_unix_ms: clock::unix_millis().saturating_sub(60_500),
            why: why.into(),
            pending: None,
            looked_unix_ms: Some(clock::unix_millis()),
            values: vec![CheckValue { measure: "used".into(), value: 0.95, unit: Unit::Share }],
            replicas: vec!["chat-1".into()],
        };
        let pending = Some("warning: used 85% (warning from 80%)".into());
        vec![
            check("disk", "", CheckState::Critical, "used 95% (critical from 90%)\u{1b}[2J"),
            check("gpu", "GPU 0", CheckState::Unknown, "no driver"),
            CheckStatus { pending, ..check("root", "", CheckState::Ok, "used 40%") },
        ]
    }

    fn gateway(&self) -> GatewayView {
        GatewayView {
            pid: 77,
            started_unix_ms: self.started_unix_ms,
            draining: self.draining.load(Relaxed),
            connections: 12,
            memory_used_bytes: 1_300_000,
            memory_limit_bytes: 1 << 30,
            config_generation: 3,
            ..GatewayView::default()
        }
    }

    fn log_path(&self, replica: &str) -> Option<PathBuf> {
        self.instances.iter().find(|i| i.name == replica)?.log.clone()
    }

    fn tail(&self, replica: &str, n: usize) -> io::Result<Vec<String>> {
        let lines: Vec<_> = (0..200).map(|i| format!("{replica} line {i}")).collect();
        Ok(lines[lines.len().saturating_sub(n)..].to_vec())
    }

    fn follow(&self, _: &str) -> io::Result<Follow> {
        let mut new = std::mem::take(&mut *self.new_lines.lock().unwrap()).into_iter();
        Ok(Box::new(move || Ok(new.next().into_iter().collect())))
    }
}

/// Notes that what was held is not any more.
struct LetGo(Arc<Mutex<Vec<String>>>);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("straight".into());
    }
}

impl Control for Fake {
    fn detour(
        &self,
        replica: &str,
        to: SocketAddr,
        owner: &str,
        why: &str,
    ) -> Result<Held, ControlError> {
        if replica == "nobody" {
            return Err(ControlError::not_found("no such replica", "look"));
        }
        self.orders.lock().unwrap().push(format!("detour {replica} {to} {owner} {why}"));
        Ok(Box::new(LetGo(self.orders.clone())))
    }

    fn clock(&self, ahead_ms: i64, owner: &str, why: &str) -> Result<Held, ControlError> {
        self.orders.lock().unwrap().push(format!("clock {ahead_ms} {owner} {why}"));
        Ok(Box::new(LetGo(self.orders.clone())))
    }

    fn drain<'a>(
        &'a self,
        replica: &'a str,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a> {
        self.note(format!("drain {replica} {owner} {lasts:?}"))
    }

    fn undrain<'a>(&'a self, replica: &'a str) -> ControlFuture<'a> {
        self.note(format!("undrain {replica}"))
    }

    fn isolate<'a>(
        &'a self,
        replica: &'a str,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a> {
        self.note(format!("isolate {replica} {owner} {lasts:?}"))
    }

    fn restart<'a>(&'a self, replica: &'a str) -> ControlFuture<'a> {
        self.note(format!("restart {replica}"))
    }

    fn standby<'a>(&'a self, replica: &'a str, promote: bool, owner: &'a str) -> ControlFuture<'a> {
        self.note(format!("standby {replica} {promote} {owner}"))
    }

    fn restart_service<'a>(&'a self, service: &'a str) -> ControlFuture<'a> {
        self.note(format!("restart service {service}"))
    }

    fn degrade<'a>(
        &'a self,
        service: &'a str,
        level: Option<u8>,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a> {
        self.note(format!("degrade {service} {level:?} by {owner} for {lasts:?}"))
    }

    fn scale<'a>(
        &'a self,
        service: &'a str,
        copies: Option<u32>,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a> {
        self.note(format!("scale {service} {copies:?} by {owner} for {lasts:?}"))
    }

    fn job<'a>(&'a self, name: &'a str, order: JobOrder) -> ControlFuture<'a> {
        self.note(format!("{order:?} job {name}"))
    }

    fn reload(&self) -> ControlFuture<'_> {
        self.note("reload".into())
    }

    fn upgrade(&self, binary: Option<PathBuf>) -> ControlFuture<'_> {
        self.note(format!("upgrade {binary:?}"))
    }

    fn stop(&self) -> ControlFuture<'_> {
        self.note("stop".into())
    }
}
