//! What the tests share: a supervisor in a directory of its own, and ways to wait for
//! what happens. Waiting for a status is waiting for an event; what only `/proc` shows
//! is polled, here and nowhere else.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evenkeel_domain::orchestrator::{InstanceSpec, InstanceStatus, Phase};
use evenkeel_supervisor::{RestartPolicy, Supervisor, SupervisorSettings};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything takes on a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The example that can be keeper and guard.
pub(crate) fn keeper() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/keeper")
}

/// A restart policy in which nothing takes long.
pub(crate) fn hasty() -> RestartPolicy {
    RestartPolicy {
        base: Duration::from_millis(10),
        cap: Duration::from_millis(200),
        ..RestartPolicy::default()
    }
}

pub(crate) struct Bench {
    pub(crate) supervisor: Supervisor,
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(hasty())
    }

    pub(crate) fn with(restart: RestartPolicy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = SupervisorSettings {
            guard_command: vec![keeper().into(), OsString::from("guard")],
            log_dir: dir.path().join("logs"),
            restart,
        };
        let rng = evenkeel_domain::rng::seeded(7);
        Self { supervisor: Supervisor::new(settings, rng).unwrap(), dir }
    }

    /// Supervises one instance.
    pub(crate) fn run(&self, spec: InstanceSpec) {
        self.supervisor.apply(vec![spec]).unwrap();
    }

    /// Waits until a status is as asked for.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        test: impl Fn(&InstanceStatus) -> bool,
    ) -> InstanceStatus {
        let mut statuses = self.supervisor.subscribe();
        let find = |all: &Vec<InstanceStatus>| {
            all.iter().find(|status| status.name == name && test(status)).cloned()
        };
        let wait = async {
            let all = statuses.wait_for(|all| find(all).is_some()).await.unwrap();
            find(&all).unwrap()
        };
        match timeout(PATIENCE, wait).await {
            Ok(status) => status,
            Err(_) => panic!("{name} was never {what}: {:#?}", self.supervisor.statuses()),
        }
    }

    pub(crate) async fn started(&self, name: &str) -> InstanceStatus {
        self.until(name, "started", |status| status.pid.is_some()).await
    }

    /// Waits until it runs and calls it ready.
    pub(crate) async fn ready(&self, name: &str) -> InstanceStatus {
        let status = self.started(name).await;
        self.supervisor.mark_ready(name, status.incarnation).unwrap();
        self.until(name, "ready", |status| status.phase == Phase::Ready).await
    }

    pub(crate) async fn stopped(&self, name: &str) -> InstanceStatus {
        self.until(name, "stopped", |status| status.phase == Phase::Stopped).await
    }

    pub(crate) async fn failed(&self, name: &str) -> String {
        let failed = |status: &InstanceStatus| matches!(status.phase, Phase::Failed { .. });
        match self.until(name, "failed", failed).await.phase {
            Phase::Failed { message, .. } => message,
            _ => unreachable!(),
        }
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("logs/{name}.log"))).unwrap_or_default()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }
}

/// A spec that runs a shell script, which needs no port.
pub(crate) fn sh(script: &str) -> InstanceSpec {
    let mut spec = InstanceSpec::new("a-1", "a", &["sh", "-c", script]);
    spec.env.insert("PORT".into(), "{port}".into());
    spec.stop_grace = Duration::from_secs(20);
    spec
}

/// Waits for what no event tells.
pub(crate) async fn eventually(what: &str, test: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !test() {
        assert!(Instant::now() < give_up, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// How long a `sleep` is told to sleep: a number that no other test uses, by which its
/// processes are found whatever their environment and parents.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("9000.{}{:03}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The pids of `sleep` processes with this argument.
pub(crate) fn sleepers(argument: &str) -> Vec<u32> {
    let is = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut args = line.split(|&byte| byte == 0);
        args.next().is_some_and(|program| program.ends_with(b"sleep"))
            && args.next() == Some(argument.as_bytes())
    };
    pids().into_iter().filter(is).collect()
}

/// Zombies whose parent is this process, by name.
pub(crate) fn zombies() -> Vec<String> {
    let me = std::process::id().to_string();
    let zombie = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        (fields.next()? == "Z" && fields.next()? == me).then(|| stat.clone())
    };
    pids().into_iter().filter_map(zombie).collect()
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Sends a signal to a process this test has started.
pub(crate) fn send(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
