//! Evenkeel as a process.

use super::{EVENKEEL, Ran, SOON, Wire, evenkeel, get, until};
use evenkeel_testkit::{Process, Replica, TempDir, tempdir};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running `evenkeel up`. Dropping it kills the keeper, and with that everything else.
pub(crate) struct Up {
    pub(crate) process: Process,
    /// Where clients connect.
    pub(crate) clients: String,
    /// Where operators connect.
    pub(crate) admin: String,
    gateway: String,
    pub(crate) dir: TempDir,
}

impl Up {
    /// With these services, and defaults for the rest.
    pub(crate) async fn start(services: &str) -> Self {
        Self::with("", services).await
    }

    /// With these services and these lines in `[gateway]` (and tables after it).
    pub(crate) async fn with(gateway: &str, services: &str) -> Self {
        Self::within(tempdir(), gateway, services).await
    }

    /// The same in a directory that may hold an earlier one's state.
    pub(crate) async fn within(dir: TempDir, gateway: &str, services: &str) -> Self {
        write_config(dir.path(), gateway, services);
        Self::from(dir, gateway).await
    }

    /// With these services, and a command that is changed before it is started.
    pub(crate) async fn changed(services: &str, change: impl FnOnce(&mut Command)) -> Self {
        let dir = tempdir();
        write_config(dir.path(), "", services);
        Self::launch(dir, "", change).await
    }

    /// With the `evenkeel.toml` of a directory.
    pub(crate) async fn from(dir: TempDir, gateway: &str) -> Self {
        Self::launch(dir, gateway, |_| {}).await
    }

    async fn launch(dir: TempDir, gateway: &str, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(EVENKEEL);
        command.args(["up", "-c"]).arg(dir.path().join("evenkeel.toml"));
        command.env_remove("EVENKEEL_LOG").env("XDG_STATE_HOME", dir.path());
        change(&mut command);
        let mut process = Process::start("evenkeel", &mut command, dir.path());
        let line = process.wait_for_line("gateway_pid", SOON).await.expect("it serves");
        let field = |name: &str| {
            // As text or as JSON.
            let [text, json] = [format!("{name}=\""), format!("\"{name}\":\"")];
            let rest = line.split_once(&text).or_else(|| line.split_once(&json));
            let rest = rest.expect("a named address").1.split('"').next().unwrap_or_default();
            rest.rsplit('/').next().unwrap_or_default().to_owned()
        };
        let (clients, admin) = (field("clients"), field("admin"));
        Self { process, clients, admin, gateway: gateway.to_owned(), dir }
    }

    /// Once all its replicas can be used.
    pub(crate) async fn ready(self) -> Self {
        until("all replicas are open", || async {
            let all = self.replicas().await;
            (!all.is_empty() && all.iter().all(|r| r["gate"] == "open")).then_some(())
        })
        .await;
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.clients)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("evenkeel.toml")
    }

    /// Writes other services into the configuration.
    pub(crate) fn rewrite(&self, services: &str) {
        write_config(self.dir.path(), &self.gateway, services);
    }

    /// The snapshot of the admin API.
    pub(crate) async fn snapshot(&self) -> Value {
        let answer = get(&self.admin, "/api/v1/snapshot").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// All replicas of the snapshot; none while nobody answers.
    pub(crate) async fn replicas(&self) -> Vec<Value> {
        let Ok(answer) = Wire::get(&self.admin, "/api/v1/snapshot").await else {
            return Vec::new();
        };
        let services = answer.json()["services"].as_array().cloned().unwrap_or_default();
        services
            .iter()
            .flat_map(|s| s["replicas"].as_array().cloned().unwrap_or_default())
            .collect()
    }

    /// One replica of the snapshot, once it looks as wanted.
    pub(crate) async fn replica(&self, name: &str, so: impl Fn(&Value) -> bool) -> Value {
        until(&format!("replica {name} as wanted"), || async {
            self.replicas().await.into_iter().find(|r| r["name"] == name).filter(|r| so(r))
        })
        .await
    }

    /// Process ids of the supervised replicas, once all run.
    pub(crate) async fn pids(&self) -> Vec<u32> {
        until("all replicas run", || async {
            let all = self.replicas().await;
            let pids: Option<Vec<u32>> = all.iter().map(|r| pid(&r["process"]["pid"])).collect();
            pids.filter(|p| !p.is_empty())
        })
        .await
    }

    /// Process id of the gateway.
    pub(crate) async fn gateway_pid(&self) -> u32 {
        pid(&self.snapshot().await["gateway"]["pid"]).expect("the gateway has a process id")
    }

    /// Runs a command against its admin API.
    pub(crate) async fn cli(&self, args: &[&str]) -> Ran {
        let admin = format!("http://{}", self.admin);
        evenkeel(&[args, &["--admin", &admin]].concat()).await
    }
}

fn pid(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|pid| u32::try_from(pid).ok())
}

fn write_config(dir: &Path, gateway: &str, services: &str) {
    let text = format!(
        "state_dir = \"{}/state\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[gateway]\nlisten = \
         \"127.0.0.1:0\"\n{gateway}\n{services}",
        dir.display()
    );
    // Whole or not at all: the file is watched.
    let new = dir.join("evenkeel.toml.new");
    std::fs::write(&new, text).expect("the configuration can be written");
    let file = dir.join("evenkeel.toml");
    std::fs::rename(new, file).expect("the configuration can be replaced");
}

/// A service for any model in front of these URLs; `settings` are lines of its table.
pub(crate) fn service(settings: &str, urls: &[String]) -> String {
    let mut text = format!("[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n{settings}\n");
    for url in urls {
        text.push_str(&format!("[[service.replica]]\nurl = \"{url}\"\n"));
    }
    text
}

/// A service of `copies` built-in models under Evenkeel's care.
pub(crate) fn supervised(copies: u32, options: &[&str]) -> String {
    let more: String = options.iter().map(|o| format!(", \"{o}\"")).collect();
    format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\ncommand = \
         [\"{EVENKEEL}\", \"model\", \"--model\", \"test\", \"--listen\", \
         \"127.0.0.1:{{port}}\"{more}]\ncopies = \
         {copies}\nstop_grace = \"5s\"\n"
    )
}

/// One service for the model `test` with this replica, and a second service.
pub(crate) fn two_services(settings: &str, replica: &Replica) -> String {
    format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"test\"]\n{settings}\n[[service.replica]]\nurl = \
         \"{url}\"\n[[service]]\nname = \"other\"\nmodels = [\"other\"]\n[[service.replica]]\nurl \
         = \"{url}\"\n",
        url = replica.url()
    )
}
