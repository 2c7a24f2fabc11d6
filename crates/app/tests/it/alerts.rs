//! Who is told of what: within which time, once more after a crash, until somebody says so.

use crate::support::{
    Model, SOON, Up, Wire, evenkeel, get, model_at, service, until, until_within,
};
use evenkeel_domain::clock::now;
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{Behaviour, Process, Replica, ports, tempdir};
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// How long what takes some looks may take on a slow machine.
const WHILE: Duration = Duration::from_secs(40);

/// A server that takes messages, and answers by what it is told.
struct Hook {
    port: u16,
    got: Arc<Mutex<Vec<(Instant, Value)>>>,
    answer: Arc<Mutex<String>>,
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

impl Hook {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let hook = Self { port, got: Arc::default(), answer: Arc::new(Mutex::new(OK.into())) };
        let (got, answer) = (hook.got.clone(), hook.answer.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (got, answer) = (got.clone(), answer.clone());
                tokio::spawn(async move {
                    let (mut all, mut buffer) = (Vec::new(), [0; 8192]);
                    let body = loop {
                        let Ok(n @ 1..) = stream.read(&mut buffer).await else { return };
                        all.extend_from_slice(&buffer[..n]);
                        let text = String::from_utf8_lossy(&all).into_owned();
                        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
                        if let Some(body) = body.and_then(|b| serde_json::from_str(&b).ok()) {
                            break body;
                        }
                    };
                    let say = answer.lock().expect("not poisoned").clone();
                    if say == OK {
                        got.lock().expect("not poisoned").push((now(), body));
                    }
                    let _ = stream.write_all(say.as_bytes()).await;
                });
            }
        });
        hook
    }

    fn say(&self, answer: &str) {
        *self.answer.lock().expect("not poisoned") = answer.to_owned();
    }

    fn all(&self, kind: &str) -> Vec<(Instant, Value)> {
        let got = self.got.lock().expect("not poisoned");
        got.iter().filter(|(_, message)| message["kind"] == kind).cloned().collect()
    }

    /// The first message of this kind, once it is there.
    async fn wait(&self, kind: &str) -> (Instant, Value) {
        until_within(WHILE, kind, || async { self.all(kind).into_iter().next() }).await
    }

    fn channel(&self, name: &str) -> String {
        let url = format!("http://127.0.0.1:{}/", self.port);
        format!("[[channel]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{url}\"\n")
    }
}

/// The first open alert, once it is so.
async fn alert(up: &Up, so: impl Fn(&Value) -> bool) -> Value {
    until_within(WHILE, "an alert that is so", || async {
        let all = get(&up.admin, "/api/v1/alerts").await.json();
        all["open"].as_array()?.iter().find(|alert| so(alert)).cloned()
    })
    .await
}

#[tokio::test]
async fn all_replicas_killed_is_a_page_within_ten_seconds_and_its_end_is_told() {
    let models = [Model::start(&[]).await, Model::start(&[]).await];
    let urls = models.each_ref().map(Model::url);
    let hook = Hook::start().await;
    let up = Up::start(&(service("", &urls) + &hook.channel("oncall"))).await.ready().await;
    let killed = now();
    models.iter().for_each(Model::kill9);
    let (at, page) = hook.wait("fires").await;
    let took = at.duration_since(killed);
    println!("from the kill of all replicas to the page: {took:?}");
    assert!(took <= Duration::from_secs(10), "{took:?}");
    let told = &page["alerts"][0];
    assert_eq!(
        (&told["labels"]["alert"], &told["severity"]),
        (&"no_replica".into(), &"page".into())
    );
    for part in
        ["What ", "Why ", "Since ", "Affected ", "service chat (tier core): 0 of 2", "Done ", "Do "]
    {
        assert!(page["text"].as_str().is_some_and(|text| text.contains(part)), "{part}: {page}");
    }
    let id = told["id"].as_str().expect("a number").to_owned();
    for (args, parts) in [
        (vec!["alert", "list"], vec!["no replica takes traffic", "told oncall", "1 delivered"]),
        (vec!["alert", "show", &id], vec!["affected", "fires", "delivered", "what"]),
        (vec!["alert", "history"], vec!["fires", "delivered"]),
    ] {
        let ran = up.cli(&args).await;
        for part in parts {
            assert!(ran.code == 0 && ran.out.contains(part), "{part}: {ran:?}");
        }
    }
    let ran = up.cli(&["status"]).await;
    assert!(ran.out.contains("no replica takes traffic; told oncall"), "{}", ran.out);
    let metrics = get(&up.admin, "/metrics").await.text();
    for line in [
        "evenkeel_alert_open{alert=\"no_replica\",severity=\"page\",service=\"chat\",state=\"firing\"} 1",
        "evenkeel_alert_delivered_total{channel=\"oncall\"} ",
        "evenkeel_alert_works 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let _back = model_at(urls[0].trim_start_matches("http://")).await;
    let (_, over) = hook.wait("resolved").await;
    assert_eq!(over["episode"], page["episode"]);
    assert!(over["alerts"][0]["resolved"].is_string(), "{over}");
    let events = get(&up.admin, "/api/v1/events").await.text();
    assert!(
        events.contains("\"event\":\"alert\"") && events.contains("\"to\":\"resolved\""),
        "{events}"
    );
}

#[tokio::test]
async fn a_total_outage_pages_by_its_budget_within_75_seconds() {
    let replica = Replica::start(Behaviour::Good).await;
    let hook = Hook::start().await;
    let only_the_budget = "[alerts.source.no_replica]\nenabled = false\n";
    let services = service("", &[replica.url()]) + &hook.channel("oncall") + only_the_budget;
    let up = Up::start(&services).await.ready().await;
    let gone = now();
    drop(replica);
    let paged = until_within(Duration::from_secs(100), "the budget pages", || async {
        hook.all("fires").into_iter().find(|(_, page)| {
            let first = &page["alerts"][0];
            first["labels"]["alert"] == "burn_rate" && first["severity"] == "page"
        })
    });
    let took = paged.await.0.duration_since(gone);
    println!("from the outage to the page by its error budget: {took:?}");
    assert!(took <= Duration::from_secs(75), "{took:?}");
    drop(up);
}

/// Two people, the second called two seconds after the first.
fn chain(first: &Hook, second: &Hook) -> String {
    format!(
        "{}{}[alerts]\nroute = [{{ severity = \"page\", step = [{{ to = [\"first\"], wait = \"2s\" }}, \
         {{ to = [\"second\"] }}] }}]\n",
        first.channel("first"),
        second.channel("second")
    )
}

#[tokio::test]
async fn nobody_acknowledges_so_the_next_is_called_and_then_nobody_more() {
    let replica = Replica::start(Behaviour::Good).await;
    let (first, second) = (Hook::start().await, Hook::start().await);
    let services = service("", &[replica.url()]) + &chain(&first, &second);
    let up = Up::start(&services).await.ready().await;
    drop(replica);
    let (begun, _) = first.wait("fires").await;
    let (called, _) = second.wait("escalates").await;
    let waited = called.duration_since(begun);
    assert!(waited >= Duration::from_millis(1500), "{waited:?}");
    let page = alert(&up, |alert| alert["step"] == 2).await;
    let id = page["id"].as_str().expect("a number");
    let ran = up.cli(&["alert", "ack", id, "--owner", "ada"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for hook in [&first, &second] {
        let (_, message) = hook.wait("acknowledged").await;
        assert_eq!(message["alerts"][0]["acknowledged_by"], "ada");
    }
    let ran = up.cli(&["alert", "list"]).await;
    assert!(ran.out.contains("ada looks after it"), "{ran:?}");
    let ran = up.cli(&["alert", "ack", "a0-0"]).await;
    assert!(ran.code == 1 && ran.err.contains("no alert `a0-0` is open"), "{ran:?}");
}

#[tokio::test]
async fn an_acknowledgement_in_time_and_a_silence_call_nobody() {
    let replica = Replica::start(Behaviour::Good).await;
    let (first, second) = (Hook::start().await, Hook::start().await);
    let chain = chain(&first, &second).replace("\"2s\"", "\"6s\"");
    let up = Up::start(&(service("", &[replica.url()]) + &chain)).await.ready().await;
    let args =
        ["alert", "silence", "service=chat", "--for", "1h", "--why", "a move", "--owner", "ada"];
    assert_eq!(up.cli(&args).await.code, 0);
    drop(replica);
    let hidden = alert(&up, |alert| alert["silenced"].is_string()).await;
    assert!(
        hidden["silenced"].as_str().is_some_and(|why| why.contains("by ada: a move")),
        "{hidden}"
    );
    let ran = up.cli(&["status"]).await;
    assert!(ran.out.contains("silenced by ada: a move"), "{}", ran.out);
    let view = get(&up.admin, "/api/v1/alerts").await.json();
    let silence = view["silences"][0]["id"].as_str().expect("a number").to_owned();
    assert_eq!(first.got.lock().expect("not poisoned").len(), 0, "nobody was told");
    assert_eq!(up.cli(&["alert", "unsilence", &silence]).await.code, 0);
    first.wait("fires").await;
    assert_eq!(up.cli(&["alert", "ack", "all", "--owner", "ada"]).await.code, 0);
    let (seen, _) = first.wait("acknowledged").await;
    // Longer than the second person would have been left asleep.
    until_within(WHILE, "the time of the first step is over", || async {
        (now().duration_since(seen) > Duration::from_secs(7)).then_some(())
    })
    .await;
    assert_eq!(second.got.lock().expect("not poisoned").len(), 0, "the second one sleeps");
}

#[tokio::test]
async fn what_was_not_delivered_when_all_was_killed_is_by_the_next_process() {
    let replica = Replica::start(Behaviour::Good).await;
    let hook = Hook::start().await;
    hook.say("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let services = service("", &[replica.url()]) + &hook.channel("oncall");
    let up = Up::start(&services).await.ready().await;
    drop(replica);
    let page = until_within(WHILE, "a message waits", || async {
        let all = get(&up.admin, "/api/v1/alerts").await.json();
        let waits = all["channels"][0]["failed"].as_u64().is_some_and(|n| n > 0);
        waits.then(|| all["open"][0].clone())
    })
    .await;
    let Up { mut process, dir, .. } = up;
    process.kill9();
    process.wait(SOON).await.expect("it ends");
    hook.say(OK);
    let _up = Up::within(dir, "", &services).await;
    let (_, told) = hook.wait("fires").await;
    assert_eq!(told["alerts"][0]["id"], page["id"], "the same alert, from before the kill");
    let id = told["id"].as_str().expect("a number");
    assert!(id.starts_with("m1-"), "{id}: the message that was written before the kill");
}

#[tokio::test]
async fn a_gateway_that_is_killed_takes_no_alert_with_it() {
    let replica = Replica::start(Behaviour::Good).await;
    let hook = Hook::start().await;
    let up =
        Up::start(&(service("", &[replica.url()]) + &hook.channel("oncall"))).await.ready().await;
    drop(replica);
    let (_, page) = hook.wait("fires").await;
    let gateway = up.gateway_pid().await;
    signal(gateway, Signal::KILL);
    until("another gateway", || async {
        let answer = Wire::get(&up.admin, "/api/v1/snapshot").await.ok()?;
        (answer.json()["gateway"]["pid"] != gateway).then_some(())
    })
    .await;
    let goes_on = alert(&up, |alert| alert["id"] == page["alerts"][0]["id"]).await;
    assert_eq!(goes_on["told"][0], "oncall");
    assert_eq!(hook.all("resolved").len(), 0, "it was never over");
}

#[tokio::test]
async fn a_trial_tells_good_channels_from_nonsense_before_anything_starts() {
    let (good, bad) = (Hook::start().await, Hook::start().await);
    bad.say("HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nwelcome");
    let slack = bad.channel("chat").replace("webhook", "slack");
    let dir = tempdir();
    let file = dir.path().join("evenkeel.toml");
    let services = service("", &["http://127.0.0.1:1".into()]);
    std::fs::write(&file, format!("{services}{}{slack}", good.channel("oncall"))).expect("written");
    let path = file.display().to_string();
    let ran = evenkeel(&["alert", "test", "-c", &path]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    for part in ["oncall", "delivered", "FAILED", "`welcome`", "check `url`"] {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    let ran = evenkeel(&["alert", "test", "-c", &path, "oncall"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = evenkeel(&["alert", "test", "-c", &path, "nobody"]).await;
    assert!(ran.code == 1 && ran.err.contains("no channel `nobody`"), "{ran:?}");
    assert_eq!(good.all("test").len(), 2);
}

#[tokio::test]
async fn what_would_never_tell_anybody_is_refused_with_its_place() {
    let base = service("", &["http://127.0.0.1:1".into()]);
    let channel = "[[channel]]\nname = \"a\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\n";
    for (more, key, part) in [
        ("[[channel]]\nname = \"a\"\nkind = \"fax\"\n", "channel[0].kind", "webhook, slack"),
        ("[alerts]\nroute = [{ step = [{ to = [\"b\"] }] }]\n", "step[0].to", "no channel `b`"),
        ("[alerts]\nroute = [{ step = [] }]\n", "route[0].step", "tells nobody"),
        (
            "[alerts]\nsilence = [{ labels = { service = \"chat\" }, why = \"x\", during = { from = \"10:00\", to = \"10:00\" } }]\n",
            "silence[0].during.to",
            "never holds",
        ),
        (
            "[alerts]\nsilence = [{ labels = { service = \"chta\" }, why = \"x\", during = {} }]\n",
            "silence[0].labels",
            "never match",
        ),
        ("[alerts.source.no_replicas]\nfor = \"1s\"\n", "alerts.source", "use one of no_replica"),
        (
            "[[alert]]\nname = \"full\"\ncheck = \"disk\"\nmeasure = \"used\"\nabove = \"90%\"\nseverity = \"page\"\n",
            "alert[0].check",
            "never fire",
        ),
    ] {
        let dir = tempdir();
        let file = dir.path().join("evenkeel.toml");
        let channel = if more.starts_with("[[channel]]") { "" } else { channel };
        std::fs::write(&file, format!("{base}{channel}{more}")).expect("written");
        let ran = evenkeel(&["check", &file.display().to_string()]).await;
        let said = ran.out.clone() + &ran.err;
        assert_eq!(ran.code, 2, "{more}: {ran:?}");
        assert!(said.contains(key) && said.contains(part), "{more}: {said}");
        assert!(said.contains("evenkeel.toml:"), "{said}");
    }
}

fn debian(script: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/python").join(script)
}

#[tokio::test]
async fn foreign_mail_server_and_alertmanager_get_it() {
    let replica = Replica::start(Behaviour::Good).await;
    let dir = tempdir();
    let (smtp, http) = (ports::free_port(), ports::free_port());
    let mails = dir.path().join("mails");
    let mut mail = Command::new("/usr/bin/python3");
    mail.arg(debian("mail_server.py")).arg(smtp.to_string()).arg(&mails);
    let mut mail = Process::start("mail", &mut mail, dir.path());
    mail.wait_for_line("listens", SOON)
        .await
        .expect("python3-aiosmtpd is installed by scripts/test");
    let _manager = alertmanager(dir.path(), http).await;
    let channels = format!(
        "[[channel]]\nname = \"mail\"\nkind = \"email\"\nurl = \"smtp+plain://127.0.0.1:{smtp}\"\n\
         from = \"Evenkeel <evenkeel@example.org>\"\nto = [\"oncall@example.org\"]\n\
         [[channel]]\nname = \"prometheus\"\nkind = \"alertmanager\"\nurl = \"http://127.0.0.1:{http}\"\n"
    );
    let up = Up::start(&(service("", &[replica.url()]) + &channels)).await.ready().await;
    let ran = up.cli(&["alert", "test"]).await;
    assert!(ran.code == 0 && ran.out.matches("delivered").count() == 2, "{ran:?}");
    drop(replica);
    let text = until_within(WHILE, "the mail", || async {
        let all = std::fs::read_to_string(&mails).ok()?;
        all.contains("[PAGE] chat: no replica takes traffic").then_some(all)
    })
    .await;
    for part in ["To: oncall@example.org", "Message-ID: <m", "Affected", "evenkeel alert ack"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let known = until_within(WHILE, "Alertmanager has it", || async {
        let all = get(&format!("127.0.0.1:{http}"), "/api/v2/alerts").await.json();
        all.as_array()?.iter().find(|one| one["labels"]["alertname"] == "no_replica").cloned()
    })
    .await;
    assert_eq!(
        (&known["labels"]["service"], &known["status"]["state"]),
        (&"chat".into(), &"active".into())
    );
}

/// Alertmanager as Debian has it.
async fn alertmanager(dir: &Path, port: u16) -> Process {
    let config = dir.join("alertmanager.yml");
    std::fs::write(&config, "route: {receiver: none}\nreceivers: [{name: none}]\n")
        .expect("written");
    let mut command = Command::new("/usr/bin/prometheus-alertmanager");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=");
    let mut process = Process::start("alertmanager", &mut command, dir);
    let url = format!("http://127.0.0.1:{port}/-/ready");
    process
        .wait_for_ok(&url, SOON)
        .await
        .expect("prometheus-alertmanager is installed by scripts/test");
    process
}
