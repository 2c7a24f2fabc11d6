//! Answers that are made certain, kept, replaced and cut down.

use crate::support::{Up, ask, chat, service, until};
use evenkeel_testkit::{Behaviour, Replica, answer};
use std::time::Duration;

const QUORUM: &str = "quorum = { of = 3, agree = 2 }\nprobe = { kind = \"tcp\" }\n\
                      ejection = { max_percent = 100 }";

async fn replicas<const N: usize>(how: [Behaviour; N]) -> Vec<Replica> {
    let mut all = Vec::new();
    for behaviour in how {
        all.push(Replica::start(behaviour).await);
    }
    all
}

async fn in_front_of(settings: &str, replicas: &[Replica]) -> Up {
    let urls: Vec<_> = replicas.iter().map(Replica::url).collect();
    Up::start(&service(settings, &urls)).await.ready().await
}

async fn counted(up: &Up, name: &str) -> u64 {
    up.snapshot().await["services"][0]["answers"][name].as_u64().unwrap_or(0)
}

#[tokio::test]
async fn a_liar_is_outvoted_and_isolated() {
    let good = Behaviour::Good;
    let replicas = replicas([Behaviour::Lie, good.clone(), good]).await;
    let up = in_front_of(QUORUM, &replicas).await;
    let right = answer::text("hello", 4);
    for _ in 0..2 {
        let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
        assert_eq!(got.status, 200, "{}", got.text());
        assert_eq!(got.json()["choices"][0]["message"]["content"], right.as_str());
    }
    // A stream comes once its answer is certain.
    let got = ask(&up.clients, "", &chat("hello", 4, true)).await;
    assert_eq!(got.header("content-type"), Some("text/event-stream"), "{}", got.text());
    assert!(got.text().contains(&right) && got.text().ends_with("data: [DONE]\n\n"));
    let liar = up.replica("chat-0", |r| r["health"] == "isolated").await;
    assert!(liar["why"].as_str().is_some_and(|why| why.contains("lying")), "{liar}");
    until("all are counted", || async { (counted(&up, "quorum_agreed").await == 3).then_some(()) })
        .await;
    assert_eq!(counted(&up, "quorum_deviations").await, 3);
    let service = up.snapshot().await["services"][0].clone();
    assert_eq!((&service["requests"]["ok"], &service["active"]), (&3.into(), &0.into()));
    // The two that are left still agree.
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(replicas[0].requests().len(), 3, "nobody asks a liar");
}

#[tokio::test]
async fn without_agreement_there_is_no_answer() {
    let replicas = replicas([Behaviour::Lie, Behaviour::Good]).await;
    let up =
        in_front_of("quorum = { of = 2, agree = 2 }\nhold = { time = \"100ms\" }", &replicas).await;
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!((got.status, got.code()), (502, "no_agreement".into()));
    assert_eq!(counted(&up, "quorum_split").await, 1);
    // One alone agrees with nobody.
    replicas[0].behave(Behaviour::Status { status: 500, retry_after: None });
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!((got.status, got.code()), (503, "no_replica_available".into()), "{}", got.text());
    assert!(got.text().contains("must agree"), "{}", got.text());
}

#[tokio::test]
async fn only_so_many_wait_for_those_who_must_agree() {
    let replicas = replicas([Behaviour::Good, Behaviour::Good]).await;
    let up = in_front_of(
        "quorum = { of = 2, agree = 2 }\nhold = { time = \"20s\", requests = 2 }",
        &replicas,
    )
    .await;
    assert_eq!(up.cli(&["replica", "isolate", "chat-1"]).await.code, 0);
    up.replica("chat-1", |r| r["health"] == "isolated").await;
    let body = chat("hello", 4, false);
    let question = || ask(&up.clients, "", &body);
    let waiting = async { tokio::join!(question(), question()) };
    let others = async {
        until("two wait", || async {
            (up.snapshot().await["services"][0]["held"] == 2).then_some(())
        })
        .await;
        let got = question().await;
        assert_eq!((got.status, got.code()), (503, "no_replica_available".into()));
        let refused = &up.snapshot().await["services"][0];
        assert_eq!(refused["held"], 2, "{refused}");
        assert_eq!(up.cli(&["replica", "undrain", "chat-1"]).await.code, 0);
    };
    let ((one, two), ()) = tokio::join!(waiting, others);
    assert_eq!((one.status, two.status), (200, 200), "{}", one.text());
    assert_eq!(up.snapshot().await["services"][0]["held"], 0);
}

#[tokio::test]
async fn a_voice_that_fails_asks_another_replica() {
    let good = Behaviour::Good;
    let replicas = replicas([Behaviour::Reset, good.clone(), good]).await;
    let up = in_front_of("quorum = { of = 2, agree = 2 }", &replicas).await;
    for _ in 0..4 {
        let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
        assert_eq!(got.status, 200, "{}", got.text());
    }
}

#[tokio::test]
async fn a_known_question_finds_a_liar_without_traffic() {
    let replicas = replicas([Behaviour::Good, Behaviour::Good, Behaviour::Good]).await;
    let right = answer::text("truth", 8);
    let golden = format!(
        "probe = {{ kind = \"tcp\" }}\n[[service.golden]]\npath = \"/v1/chat/completions\"\n\
         prompt = \"truth\"\nexpect = {right:?}\ninterval = \"300ms\"\n"
    );
    let up = in_front_of(&golden, &replicas).await;
    for replica in &replicas {
        replica.wait_for(Duration::from_secs(5), |c| c.finished >= 2).await.expect("it is asked");
    }
    replicas[1].behave(Behaviour::Lie);
    let liar = up.replica("chat-1", |r| r["health"] == "isolated").await;
    assert!(liar["why"].as_str().is_some_and(|why| why.contains("expected")), "{liar}");
    assert!(up.replicas().await.iter().filter(|r| r["health"] == "healthy").count() == 2);
}

const CACHE: &str = "cache = { bytes = 1048576, ttl = \"1h\" }";

async fn one(settings: &str, how: Behaviour) -> (Replica, Up) {
    let replica = Replica::start(how).await;
    let up = in_front_of(settings, std::slice::from_ref(&replica)).await;
    (replica, up)
}

#[tokio::test]
async fn the_same_question_is_asked_once() {
    let (replica, up) = one(CACHE, Behaviour::Good).await;
    let first = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!(first.header("x-evenkeel-cache"), Some("miss"), "{first:?}");
    let again = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!(again.header("x-evenkeel-cache"), Some("hit"));
    assert!(again.header("age").is_some_and(|age| age.parse::<u64>().is_ok()), "{again:?}");
    assert_eq!(again.json(), first.json());
    // The same as a stream.
    let stream = ask(&up.clients, "", &chat("hello", 4, true)).await;
    assert_eq!(stream.header("x-evenkeel-cache"), Some("hit"));
    assert!(stream.text().contains(&answer::text("hello", 4)), "{}", stream.text());
    assert_eq!(replica.requests().len(), 1);
    // Other questions, other clients' and what must be new are asked.
    for (headers, body) in [
        ("", chat("hello", 5, false)),
        ("authorization: Bearer other\r\n", chat("hello", 4, false)),
        ("cache-control: no-cache\r\n", chat("hello", 4, false)),
        ("cache-control: no-store\r\n", chat("hello", 4, false)),
        ("", chat("hello", 4, false).replace("\"temperature\":0", "\"temperature\":1")),
    ] {
        let before = replica.requests().len();
        assert_eq!(ask(&up.clients, headers, &body).await.status, 200);
        assert_eq!(replica.requests().len(), before + 1, "{headers}{body}");
    }
    // Errors are not kept.
    replica.script([Behaviour::Status { status: 400, retry_after: None }]);
    assert_eq!(ask(&up.clients, "", &chat("bad", 4, false)).await.status, 400);
    assert_eq!(ask(&up.clients, "", &chat("bad", 4, false)).await.status, 200);
    assert_eq!(counted(&up, "cache_hits").await, 2);
    assert!(counted(&up, "cache_bytes").await > 500);
    let metrics = crate::support::get(&up.admin, "/metrics").await.text();
    assert!(metrics.contains("evenkeel_cache_hits_total{service=\"chat\"} 2"), "{metrics}");
    let service = up.snapshot().await["services"][0].clone();
    assert_eq!((&service["requests"]["ok"], &service["active"]), (&9.into(), &0.into()));
}

#[tokio::test]
async fn streams_are_kept_as_they_came() {
    let gap = Duration::from_millis(5);
    let (replica, up) = one(CACHE, Behaviour::Paced { first: gap, gap }).await;
    let first = ask(&up.clients, "", &chat("hello", 6, true)).await;
    let again = ask(&up.clients, "", &chat("hello", 6, true)).await;
    assert_eq!(again.header("x-evenkeel-cache"), Some("hit"));
    assert_eq!(again.text(), first.text());
    // What the gateway asks for itself is about other things.
    let asked =
        replica.requests().iter().filter(|r| r.body.windows(5).any(|w| w == b"hello")).count();
    assert_eq!(asked, 1);
    // What breaks off is not kept.
    replica.behave(Behaviour::Break { after: 2, gap, how: evenkeel_testkit::Break::ErrorEvent });
    let broken = ask(&up.clients, "", &chat("other", 6, true)).await;
    assert!(broken.text().contains("error"), "{}", broken.text());
    replica.behave(Behaviour::Good);
    let whole = ask(&up.clients, "", &chat("other", 6, true)).await;
    assert_eq!(whole.header("x-evenkeel-cache"), Some("miss"));
    assert!(whole.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn who_asks_the_same_at_once_shares_an_attempt_and_outlives_its_leader() {
    let slow = Behaviour::SlowHead(Duration::from_millis(600));
    let (replica, up) = one(CACHE, slow).await;
    let mut leader = crate::support::Wire::open(&up.clients).await;
    let path = "/v1/chat/completions";
    leader.send(crate::support::post(path, "", &chat("hello", 4, false))).await;
    replica.wait_for(Duration::from_secs(5), |c| c.begun == 1).await.expect("it is asked");
    let followers: Vec<_> = (0..8)
        .map(|_| {
            let clients = up.clients.clone();
            tokio::spawn(async move { ask(&clients, "", &chat("hello", 4, false)).await })
        })
        .collect();
    until("all follow", || async { (counted(&up, "cache_shared").await == 8).then_some(()) }).await;
    drop(leader);
    for follower in followers {
        let got = follower.await.expect("it ends");
        assert_eq!(got.status, 200, "{}", got.text());
    }
    assert_eq!((replica.requests().len(), replica.counts().cancelled), (1, 0));
    // When the last one leaves, nobody works on.
    let mut last = crate::support::Wire::open(&up.clients).await;
    last.send(crate::support::post(path, "", &chat("other", 4, false))).await;
    replica.wait_for(Duration::from_secs(5), |c| c.begun == 2).await.expect("it is asked");
    drop(last);
    replica.wait_for(Duration::from_millis(400), |c| c.cancelled == 1).await.expect("it is told");
}

/// A service `chat` with these settings in front of one replica, and `small` in front of
/// another.
async fn with_another(settings: &str, chat: &Replica, other: &Replica) -> Up {
    let services = format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"test\"]\n{settings}\n[[service.replica]]\n\
         url = \"{}\"\n[[service]]\nname = \"small\"\nmodels = [\"tiny\"]\n[[service.replica]]\n\
         url = \"{}\"\n",
        chat.url(),
        other.url()
    );
    Up::start(&services).await.ready().await
}

const BROKEN: Behaviour = Behaviour::Status { status: 500, retry_after: None };

#[tokio::test]
async fn down_the_chain_until_one_answers() {
    let chain = "fallback = [\"service:small\", \"cache\", { fixed = \"Come back later.\" }]\n\
                 cache = { bytes = 1048576, ttl = \"50ms\", stale = true }\n\
                 hold = { time = \"200ms\" }\nprobe = { kind = \"tcp\" }\n\
                 ejection = { max_percent = 0 }";
    let (chat_replica, other) =
        (Replica::start(Behaviour::Good).await, Replica::start(Behaviour::Good).await);
    let up = with_another(chain, &chat_replica, &other).await;
    let first = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!((first.header("x-evenkeel-reason"), other.requests().len()), (None, 0));
    chat_replica.behave(BROKEN);
    // Another service, whole and as a stream.
    for stream in [false, true] {
        let got = ask(&up.clients, "", &chat("other", 4, stream)).await;
        assert_eq!(got.status, 200, "{}", got.text());
        let reason = got.header("x-evenkeel-reason").unwrap_or_default();
        assert_eq!(reason, "fallback=service:small; after=server_error");
        let attempts = got.header("x-evenkeel-attempts").and_then(|n| n.parse::<u32>().ok());
        assert_eq!(attempts, Some(4), "three here, one there");
    }
    let asked = other.requests();
    let body: serde_json::Value = serde_json::from_slice(&asked[0].body).expect("JSON");
    assert_eq!(body["model"], "tiny");
    // What was kept, though too old.
    other.behave(BROKEN);
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!((got.status, got.json()), (200, first.json()));
    assert_eq!(got.header("x-evenkeel-cache"), Some("stale"), "{got:?}");
    assert!(
        got.header("warning").is_some_and(|w| w.starts_with("110")) && got.header("age").is_some()
    );
    // A fixed text.
    let got = ask(&up.clients, "", &chat("never asked", 4, false)).await;
    let said = got.json();
    assert_eq!(said["choices"][0]["message"]["content"], "Come back later.");
    assert_eq!(
        (&said["model"], &said["choices"][0]["finish_reason"]),
        (&"evenkeel-fixed".into(), &"stop".into())
    );
    let got = ask(&up.clients, "", &chat("never asked", 4, true)).await;
    assert!(got.text().contains("Come back later.") && got.text().ends_with("data: [DONE]\n\n"));
    // What no model writes has no fixed answer: the error goes out.
    let request = crate::support::post("/v1/embeddings", "", r#"{"model":"test","input":"x"}"#);
    let got = crate::support::raw(&up.clients, request).await.expect("an answer");
    assert_eq!(got.status, 500, "{}", got.text());
    for (name, expected) in
        [("fallback_service", 2), ("fallback_cache", 1), ("fallback_fixed", 2), ("cache_stale", 1)]
    {
        assert_eq!(counted(&up, name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn what_is_too_long_goes_to_the_larger_model_and_what_is_refused_to_nobody() {
    let (chat_replica, other) =
        (Replica::start(Behaviour::Good).await, Replica::start(Behaviour::Good).await);
    let settings = "larger = \"small\"\nfallback = [\"service:small\"]";
    let up = with_another(settings, &chat_replica, &other).await;
    let error = |code: &str| Behaviour::Error {
        status: 400,
        body: format!(r#"{{"error":{{"message":"no","code":"{code}"}}}}"#),
    };
    chat_replica.behave(error("context_length_exceeded"));
    let got = ask(&up.clients, "", &chat("long", 4, false)).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let reason = got.header("x-evenkeel-reason");
    assert_eq!(reason, Some("fallback=service:small; after=context_length_exceeded"));
    assert_eq!((chat_replica.requests().len(), other.requests().len()), (1, 1));
    chat_replica.behave(error("content_policy_violation"));
    let got = ask(&up.clients, "", &chat("bad", 4, false)).await;
    assert_eq!(
        (got.status, got.json()["error"]["code"].clone()),
        (400, "content_policy_violation".into())
    );
    assert_eq!((chat_replica.requests().len(), other.requests().len()), (2, 1));
}

#[tokio::test]
async fn an_answer_tells_what_it_took() {
    let (replica, up) = one("", Behaviour::Good).await;
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!(got.header("x-evenkeel-attempts"), None);
    replica.script([BROKEN]);
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.header("x-evenkeel-attempts"), Some("2"));
    assert_eq!(got.header("x-evenkeel-reason"), Some("server_error"));
}

async fn at_level(up: &Up, level: u64) {
    until("the level is reached", || async {
        (counted(up, "degrade_level").await == level).then_some(())
    })
    .await;
}

#[tokio::test]
async fn levels_by_hand_do_less_step_by_step() {
    let (chat_replica, other) =
        (Replica::start(Behaviour::Good).await, Replica::start(Behaviour::Good).await);
    let settings = "fallback = [\"service:small\", \"cache\", { fixed = \"Come back later.\" }]\n\
                    degrade = { max_tokens = 2 }\ncache = { bytes = 1048576, ttl = \"1h\" }\n\
                    route = [{ path = \"/\", headers = { x-batch = \"1\" }, tier = \"best_effort\" }]";
    let up = with_another(settings, &chat_replica, &other).await;
    let degrade = async |level: &str| {
        let ran = up.cli(&["degrade", "chat", level]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        at_level(&up, level.parse().unwrap_or(0)).await;
    };
    let batch = "x-batch: 1\r\n";
    assert_eq!(ask(&up.clients, batch, &chat("kept", 4, false)).await.status, 200);
    degrade("2").await;
    let got = ask(&up.clients, batch, &chat("hello", 4, false)).await;
    assert_eq!((got.status, got.code()), (503, "degraded".into()));
    assert!(got.header("retry-after").is_some());
    // What is kept costs no replica anything.
    let got = ask(&up.clients, batch, &chat("kept", 4, false)).await;
    assert_eq!(got.header("x-evenkeel-reason"), Some("fallback=cache; after=degraded"), "{got:?}");
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    degrade("3").await;
    let got = ask(&up.clients, "", &chat("short", 4, false)).await;
    let said = got.json()["choices"][0]["message"]["content"].clone();
    assert_eq!(said, answer::text("short", 2).as_str());
    assert_eq!(got.header("x-evenkeel-degraded"), Some("3"));
    degrade("4").await;
    let got = ask(&up.clients, "", &chat("cheap", 4, false)).await;
    assert_eq!(got.header("x-evenkeel-reason"), Some("fallback=service:small; after=degraded"));
    degrade("5").await;
    let got = ask(&up.clients, "", &chat("short", 4, false)).await;
    assert_eq!(got.header("x-evenkeel-reason"), Some("fallback=cache; after=degraded"), "{got:?}");
    degrade("6").await;
    let got = ask(&up.clients, "", &chat("new", 4, false)).await;
    assert_eq!(got.json()["model"], "evenkeel-fixed");
    let shown = up.cli(&["status"]).await;
    assert!(shown.out.contains("level 6"), "{}", shown.out);
    // A new process takes the order on.
    let before = up.gateway_pid().await;
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(before as i32).expect("a process id"),
        rustix::process::Signal::KILL,
    )
    .expect("the gateway is killed");
    until("another gateway serves", || async {
        let answer = crate::support::Wire::get(&up.admin, "/api/v1/snapshot").await.ok()?;
        (answer.json()["gateway"]["pid"] != before).then_some(())
    })
    .await;
    at_level(&up, 6).await;
    degrade("0").await;
    let got = ask(&up.clients, "", &chat("new", 4, false)).await;
    assert_eq!(got.header("x-evenkeel-reason"), None);
    let ran = up.cli(&["degrade", "small", "1"]).await;
    assert!(ran.code != 0 && ran.err.contains("[service.degrade]"), "{ran:?}");
    assert!(up.cli(&["degrade", "chat", "7"]).await.code != 0);
}

#[tokio::test]
async fn load_raises_the_level_and_relief_lowers_it() {
    let replica = Replica::start(Behaviour::Hang).await;
    let services = format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\ntier = \"best_effort\"\nprobe = {{ kind = \
         \"tcp\" }}\n[service.degrade]\nload = 0.9\nrise = \"300ms\"\ndwell = \"600ms\"\n\
         max_level = 1\n[[service.replica]]\nurl = \"{}\"\nmax_in_flight = 2\n",
        replica.url()
    );
    let up = Up::start(&services).await.ready().await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut wire = crate::support::Wire::open(&up.clients).await;
        wire.send(crate::support::post("/v1/chat/completions", "", &chat("hello", 4, false))).await;
        clients.push(wire);
    }
    at_level(&up, 1).await;
    drop(clients);
    at_level(&up, 0).await;
    let events = crate::support::get(&up.admin, "/api/v1/events?after=0").await.json();
    let changes: Vec<_> = events
        .as_array()
        .into_iter()
        .flatten()
        .filter(|e| e["event"] == "degraded")
        .map(|e| (e["from"].as_u64(), e["to"].as_u64()))
        .collect();
    assert_eq!(changes, [(Some(0), Some(1)), (Some(1), Some(0))], "{events}");
    assert_eq!(counted(&up, "degrade_changes").await, 2);
}
