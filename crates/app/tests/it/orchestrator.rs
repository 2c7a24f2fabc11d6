//! The suite of the orchestrator's port over a real TLS connection, and who may not use one.

use evenkeel_agent::serve::{AgentSettings, serve};
use evenkeel_agent::{Authority, Bundle, Follow, Host, Link, Remote, RemoteSettings, Term};
use evenkeel_domain::job::{JobOrder, JobSettings, JobStatus};
use evenkeel_domain::node::NodeSettings;
use evenkeel_domain::orchestrator::{
    InstanceSpec, InstanceStatus, Orchestrator, OrchestratorError, suite,
};
use evenkeel_domain::rng;
use evenkeel_supervisor::{RestartPolicy, Supervisor, SupervisorSettings};
use evenkeel_testkit::{TempDir, tempdir};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{EVENKEEL, SOON, until_so};

/// A node without jobs and logs.
struct Local {
    supervisor: Supervisor,
    jobs: watch::Sender<Vec<JobStatus>>,
}

impl Host for Local {
    fn orchestrator(&self) -> &dyn Orchestrator {
        &self.supervisor
    }

    fn jobs(&self, _: Vec<JobSettings>) {}

    fn order(&self, _: &str, _: JobOrder) -> bool {
        false
    }

    fn job_statuses(&self) -> watch::Receiver<Vec<JobStatus>> {
        self.jobs.subscribe()
    }

    fn tail(&self, _: &str, _: usize) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn follow(&self, _: &str) -> io::Result<Follow> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn supervisor(dir: &TempDir) -> Supervisor {
    let restart = RestartPolicy {
        base: Duration::from_millis(10),
        cap: Duration::from_millis(200),
        ..RestartPolicy::default()
    };
    let settings = SupervisorSettings {
        guard_command: vec![EVENKEEL.into(), "guard".into()],
        log_dir: dir.path().join("logs"),
        restart,
    };
    Supervisor::new(settings, rng::seeded(7)).expect("a supervisor")
}

/// An authority, a node of it, and its agent within this process.
struct Bench {
    dir: TempDir,
    authority: Authority,
    bundle: Bundle,
    address: String,
    agent: JoinHandle<()>,
    supervisor: Supervisor,
}

impl Bench {
    async fn new(allow: &[&str]) -> Self {
        let dir = tempdir();
        let authority = authority(&dir, 1);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let bundle = authority.bundle("gpu-1", &address, now()).expect("a certificate");
        let supervisor = supervisor(&dir);
        let host = Local { supervisor: supervisor.clone(), jobs: watch::Sender::default() };
        let settings = AgentSettings {
            state_dir: dir.path().join("agent"),
            allow: allow.iter().map(|&program| program.to_owned()).collect(),
            life: 1,
        };
        let served = serve(listener, bundle.clone(), settings, Arc::new(host));
        let agent = tokio::spawn(async move { served.await.expect("it serves") });
        Self { dir, authority, bundle, address, agent, supervisor }
    }

    fn remote(&self, node: &str, authority: &Authority, epoch: u64) -> Remote {
        self.at(&self.address, node, authority, epoch)
    }

    fn at(&self, address: &str, node: &str, authority: &Authority, epoch: u64) -> Remote {
        let node = NodeSettings {
            name: node.into(),
            address: address.into(),
            host: None,
            orphan_after: None,
        };
        let term = Term { epoch, nonce: rng::from_os().u64(..) };
        let state_dir = self.dir.path().join("state");
        Remote::new(RemoteSettings { node, term, state_dir }, authority).expect("a client")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.agent.abort();
    }
}

fn now() -> u64 {
    evenkeel_domain::clock::unix_millis() / 1000
}

fn authority(dir: &TempDir, id: u64) -> Authority {
    let dir = dir.path().join(id.to_string());
    Authority::read_or_new(&dir, id, now()).expect("an authority")
}

/// Once the connection is so.
async fn link(remote: &Remote, what: &str, so: impl Fn(&Link) -> bool) -> Link {
    let mut link = remote.link();
    let found = tokio::time::timeout(SOON, link.wait_for(|link| so(link))).await;
    match found {
        Ok(found) => found.expect("it lives").clone(),
        Err(_) => panic!("never {what}: {:?}", remote.link().borrow()),
    }
}

fn sleeper(name: &str) -> InstanceSpec {
    let mut spec = InstanceSpec::new(name, "a", &["sh", "-c", "exec sleep 1000"]);
    spec.env.insert("PORT".into(), "{port}".into());
    spec
}

async fn started(port: &dyn Orchestrator, incarnation: u64) -> InstanceStatus {
    let mut statuses = port.subscribe();
    let so = |all: &[InstanceStatus]| {
        all.iter().find(|s| s.incarnation == incarnation && s.pid.is_some()).cloned()
    };
    let found = tokio::time::timeout(SOON, statuses.wait_for(|all| so(all).is_some())).await;
    so(&found.expect("in time").expect("it lives")).expect("it was there")
}

#[tokio::test]
async fn a_node_far_away_does_what_all_orchestrators_must() {
    suite::all(|| async {
        let bench = Bench::new(&[]).await;
        let remote = bench.remote("gpu-1", &bench.authority, 1);
        // Until the test ends: its logs are written there.
        std::mem::forget(bench);
        Arc::new(remote) as Arc<dyn Orchestrator>
    })
    .await;
}

#[tokio::test]
async fn strangers_are_refused_on_both_ends() {
    let bench = Bench::new(&[]).await;
    let other = authority(&bench.dir, 2);
    // Another keeper does not trust this node, nor this node another keeper.
    let remote = bench.remote("gpu-1", &other, 1);
    let why = link(&remote, "refused", |link| link.why.is_some()).await;
    assert!(!why.connected && why.why.is_some_and(|why| why.contains("certificate")));
    let refused = remote.restart("a-0", None);
    let refused = tokio::time::timeout(SOON, refused).await.expect("calls do not wait for ever");
    let text = refused.expect_err("nobody obeys").to_string();
    assert!(text.contains("node gpu-1 cannot be reached"), "{text}");
    // The right keeper does not take this node for another one.
    let remote = bench.remote("gpu-2", &bench.authority, 1);
    let why = link(&remote, "refused", |link| link.why.is_some()).await;
    assert!(!why.connected && why.why.is_some_and(|why| why.contains("not valid for name")));
    let right = bench.remote("gpu-1", &bench.authority, 1);
    link(&right, "connected", |link| link.connected).await;
    assert!(bench.bundle.write(&bench.dir.path().join("b")).is_ok());
    assert!(bench.bundle.write(&bench.dir.path().join("b")).is_err(), "never written over");
}

#[tokio::test]
async fn who_shows_no_certificate_or_talks_nonsense_is_dropped() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let bench = Bench::new(&[]).await;
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0x16, 3, 1, 0xff, 0xff]] {
        let mut tcp = tokio::net::TcpStream::connect(&bench.address).await.expect("it listens");
        tcp.write_all(nonsense).await.expect("it reads");
        let mut rest = Vec::new();
        let read = tokio::time::timeout(SOON, tcp.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "dropped in time, whether reset or closed");
        assert!(rest.len() < 64, "an alert at most");
    }
    // As many as there are places say nothing at all, and the keeper gets through after them.
    let mut silent = Vec::new();
    for _ in 0..70 {
        silent.push(tokio::net::TcpStream::connect(&bench.address).await.expect("a backlog"));
    }
    let keeper = bench.remote("gpu-1", &bench.authority, 1);
    link(&keeper, "connected", |link| link.connected).await;
}

#[tokio::test]
async fn an_earlier_keeper_commands_no_more() {
    let bench = Bench::new(&[]).await;
    let first = bench.remote("gpu-1", &bench.authority, 4);
    first.apply(vec![sleeper("a-0")]).await.expect("it commands");
    let before = started(&first, 1).await;
    let second = bench.remote("gpu-1", &bench.authority, 5);
    second.apply(vec![sleeper("a-0")]).await.expect("it takes over");
    let why = link(&first, "refused", |l| l.why.as_ref().is_some_and(|w| w.contains("epoch 5")));
    assert!(!why.await.connected);
    assert!(matches!(first.apply(Vec::new()).await, Err(OrchestratorError::Unavailable(_))));
    let after = started(&second, 1).await;
    assert_eq!((after.pid, after.incarnation), (before.pid, 1), "it was taken over as it was");
    let text = std::fs::read_to_string(bench.dir.path().join("state/nodes/epoch"));
    assert_eq!(text.expect("it has learnt"), "5", "its next start would take over");
    bench.supervisor.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn what_a_node_may_not_run_is_refused_and_said() {
    let bench = Bench::new(&["sleep"]).await;
    let remote = bench.remote("gpu-1", &bench.authority, 1);
    let mut allowed = sleeper("a-0");
    allowed.command = vec!["sleep".into(), "1000".into()];
    remote.apply(vec![allowed]).await.expect("it may");
    let before = started(&remote, 1).await;
    let refused = remote.apply(vec![sleeper("a-0")]).await.expect_err("it may not").to_string();
    assert!(refused.contains("--allow sh"), "{refused}");
    let said = link(&remote, "said", |link| link.why.is_some()).await;
    assert!(said.connected && said.why.is_some_and(|why| why.contains("--allow sh")));
    assert_eq!(remote.statuses().await, Ok(vec![before]));
    bench.supervisor.shutdown(Duration::ZERO).await;
}

/// Passes bytes on until it is told to drop what agents say, and then closes.
async fn lossy(to: String) -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let deaf = watch::Sender::new(false);
    let heard = deaf.subscribe();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(&to).await.expect("the agent listens");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let mut heard = heard.clone();
            tokio::spawn(async move {
                let up = tokio::io::copy(&mut from_client, &mut to_server);
                let down = async {
                    tokio::select! {
                        _ = tokio::io::copy(&mut from_server, &mut to_client) => return,
                        () = until_it_is(true, &mut heard) => {}
                    }
                    until_it_is(false, &mut heard).await;
                };
                tokio::select! { _ = up => {}, () = down => {} }
            });
        }
    });
    (address, deaf)
}

async fn until_it_is(deaf: bool, heard: &mut watch::Receiver<bool>) {
    drop(heard.wait_for(|now| *now == deaf).await);
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_is_done_once() {
    let bench = Bench::new(&[]).await;
    let (address, deaf) = lossy(bench.address.clone()).await;
    let remote = Arc::new(bench.at(&address, "gpu-1", &bench.authority, 1));
    remote.apply(vec![sleeper("a-0")]).await.expect("it commands");
    started(&*remote, 1).await;
    deaf.send_replace(true);
    let call = tokio::spawn({
        let remote = remote.clone();
        async move { remote.restart("a-0", Some(Duration::ZERO)).await }
    });
    // Done there, and the answer is lost with the connection.
    started(&bench.supervisor, 2).await;
    deaf.send_replace(false);
    assert_eq!(call.await.expect("it ends"), Ok(1));
    let now = started(&*remote, 2).await;
    assert_eq!(now.restarts, 1, "once");
    until_so("it is the same on both ends", || bench.supervisor.statuses()[0].restarts == 1).await;
    bench.supervisor.shutdown(Duration::ZERO).await;
}
