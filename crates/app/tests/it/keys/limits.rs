//! Requests, tokens and streams: as many as there are, and no more.

use super::{bearer, entry, shown, start, text, usage};
use crate::support::{Answer, Model, Up, Wire, ask, chat, get, post, raw, service, until};
use evenkeel_domain::clock::now;
use evenkeel_testkit::Replica;
use evenkeel_testkit::replica::Behaviour;
use std::time::Duration;

fn number(answer: &Answer, name: &str) -> u64 {
    let value = answer.header(&format!("x-ratelimit-{name}"));
    let value = value.unwrap_or_else(|| panic!("no {name}: {:?}", answer.headers));
    value.parse().unwrap_or_else(|e| panic!("{name}: {value}: {e}"))
}

/// The statuses of so many requests, each on a connection of its own, all at once.
async fn at_once(up: &Up, ids: &[&str], count: usize) -> Vec<Answer> {
    let asking: Vec<_> = (0..count)
        .map(|n| {
            let (to, headers) = (up.clients.clone(), bearer(ids[n % ids.len()]));
            tokio::spawn(async move { ask(&to, &headers, &chat("x", 1, false)).await })
        })
        .collect();
    let mut answers = Vec::new();
    for answer in asking {
        answers.push(answer.await.expect("it is answered"));
    }
    answers
}

fn good(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

#[tokio::test]
async fn exactly_as_many_requests_as_a_key_has() {
    let replica = Replica::start(Behaviour::Good).await;
    let limits = "limits = { requests_per_minute = 5 }";
    let up = start(&(entry("a", limits) + &entry("b", "")), &service("", &[replica.url()])).await;
    let answers = at_once(&up, &["a"], 60).await;
    // One more comes every twelve seconds.
    assert_eq!(good(&answers), 5);
    assert_eq!(replica.requests().len(), 5);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, refused.code()), (429, "rate_limit_exceeded".into()));
        assert_eq!(refused.json()["error"]["type"], "requests");
        assert!(refused.text().contains("key `a` on requests: 5 a minute"), "{}", refused.text());
        let after = refused.header("retry-after").and_then(|s| s.parse::<u64>().ok());
        assert!(after.is_some_and(|s| (1..=12).contains(&s)), "{after:?}");
        assert_eq!(
            (number(refused, "limit-requests"), number(refused, "remaining-requests")),
            (5, 0)
        );
        let reset = refused.header("x-ratelimit-reset-requests").expect("it is told");
        assert!(reset.ends_with('s') && (reset.starts_with('5') || reset == "1m0s"), "{reset}");
        assert_eq!(refused.header("x-ratelimit-limit-tokens"), None);
        assert_eq!(refused.header("x-should-retry"), None);
    }
    // Each API in its own way, and soon.
    let began = now();
    let body = chat("x", 1, false);
    let got = raw(&up.clients, post("/v1/messages", &bearer("a"), &body)).await.expect("an answer");
    assert!(now() - began < Duration::from_millis(100), "{:?}", now() - began);
    assert_eq!((got.status, &got.json()["error"]["type"]), (429, &"rate_limit_error".into()));
    assert_eq!(good(&at_once(&up, &["b"], 20).await), 20, "others have their own");
    let used = shown(&up, "a").await;
    assert_eq!((&used["usage"]["requests"], &used["usage"]["refused"]), (&5.into(), &56.into()));
    assert_eq!(used["limits"]["requests_remaining"], 0);
    let refusals = &up.snapshot().await["services"][0]["refusals"]["core"];
    assert_eq!(refusals["limited"], 56, "{refusals}");
}

#[tokio::test]
async fn tenants_and_services_have_limits_of_their_own() {
    let replica = Replica::start(Behaviour::Good).await;
    let tenant = "[[tenant]]\nname = \"t\"\nlimits = { requests_per_minute = 6 }\n";
    let limits = "tenant = \"t\"\nlimits = { requests_per_minute = 4 }";
    let keys = entry("a", limits) + &entry("b", limits) + &entry("c", "");
    let limited = service("limits = { requests_per_minute = 8 }", &[replica.url()]);
    let up = start(&keys, &(tenant.to_owned() + &limited)).await;
    assert_eq!(good(&at_once(&up, &["a"], 20).await), 4, "the key's");
    let shared = at_once(&up, &["b"], 20).await;
    assert_eq!(good(&shared), 2, "what the tenant has left");
    let refused = shared.iter().find(|answer| answer.status == 429).expect("one was refused");
    assert!(refused.text().contains("tenant `t`"), "{}", refused.text());
    assert_eq!((number(refused, "limit-requests"), number(refused, "remaining-requests")), (6, 0));
    let others = at_once(&up, &["c"], 20).await;
    assert_eq!(good(&others), 2, "what the service has left");
    assert!(others.iter().any(|answer| answer.text().contains("service `chat`")));
    // What one refused was taken of nobody.
    assert_eq!(shown(&up, "b").await["limits"]["requests_remaining"], 2);
}

#[tokio::test]
async fn a_service_is_limited_without_keys_too() {
    let replica = Replica::start(Behaviour::Good).await;
    let limited = service("limits = { requests_per_minute = 3 }", &[replica.url()]);
    let up = Up::start(&limited).await.ready().await;
    let statuses = [(); 5].map(|()| ask(&up.clients, "", "{\"messages\":[]}"));
    let mut good = Vec::new();
    for answer in statuses {
        let answer = answer.await;
        good.push((answer.status, number(&answer, "remaining-requests")));
    }
    assert_eq!(good, [(200, 2), (200, 1), (200, 0), (429, 0), (429, 0)]);
}

#[tokio::test]
async fn tokens_are_settled_by_what_an_answer_took() {
    let model = Model::start(&[]).await;
    let limits = "limits = { tokens_per_minute = 600 }";
    let up = start(&entry("a", limits), &service("", &[model.url()])).await;
    let began = now();
    let mut taken = (0, 0);
    // Each is estimated at about forty tokens: settled only by that, they would not fit.
    for _ in 0..20 {
        let got = ask(&up.clients, &bearer("a"), &chat("hello", 8, false)).await;
        assert_eq!(got.status, 200, "{}", got.text());
        let usage = got.json()["usage"].clone();
        let of = |name: &str| usage[name].as_u64().expect("the model tells its usage");
        taken = (taken.0 + of("prompt_tokens"), taken.1 + of("completion_tokens"));
        let back = (now() - began).as_secs_f64() * 10.0;
        let (left, used) = (number(&got, "remaining-tokens"), taken.0 + taken.1);
        assert!(left >= 600 - used && left as f64 <= (600 - used) as f64 + back + 1.0, "{left}");
        assert_eq!(number(&got, "limit-tokens"), 600);
    }
    let same = |used: &serde_json::Value, taken: (u64, u64)| {
        (&used["prompt_tokens"], &used["completion_tokens"]) == (&taken.0.into(), &taken.1.into())
    };
    let used = shown(&up, "a").await["usage"].clone();
    assert!(same(&used, taken), "{used} {taken:?}");
    // A stream tells it at its end.
    let body = chat("hello", 5, true)
        .replace("\"stream\":true", "\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    let stream = ask(&up.clients, &bearer("a"), &body).await;
    let last =
        stream.text().lines().filter_map(|l| l.strip_prefix("data: {")).next_back().map(|l| {
            serde_json::from_str::<serde_json::Value>(&format!("{{{l}")).expect("events are JSON")
        });
    let told = last.expect("there are events")["usage"].clone();
    taken.0 += told["prompt_tokens"].as_u64().expect("the stream tells its usage");
    taken.1 += told["completion_tokens"].as_u64().expect("the stream tells its usage");
    usage(&up, "a", |used| same(used, taken)).await;
    // Without it, its events are counted.
    let stream = ask(&up.clients, &bearer("a"), &chat("hello", 7, true)).await;
    assert_eq!(stream.status, 200);
    usage(&up, "a", |used| {
        // Of the prompt only the length is known.
        used["prompt_tokens"].as_u64() > Some(taken.0) && used["completion_tokens"] == taken.1 + 7
    })
    .await;
}

#[tokio::test]
async fn what_no_limit_ever_holds_is_refused_for_good() {
    let replica = Replica::start(Behaviour::Good).await;
    let limits = "limits = { tokens_per_minute = 100 }";
    let up = start(&entry("a", limits), &service("", &[replica.url()])).await;
    let got = ask(&up.clients, &bearer("a"), &chat("hello", 5000, false)).await;
    assert_eq!((got.status, got.code()), (429, "rate_limit_exceeded".into()));
    assert_eq!(got.json()["error"]["type"], "tokens");
    assert!(got.text().contains("max_tokens"), "{}", got.text());
    assert_eq!((got.header("retry-after"), got.header("x-should-retry")), (None, Some("false")));
    assert_eq!(number(&got, "remaining-tokens"), 100, "nothing was taken");
    // What fails everywhere costs no tokens.
    replica.behave(Behaviour::Status { status: 500, retry_after: None });
    let got = ask(&up.clients, &bearer("a"), &chat("hello", 20, false)).await;
    assert_eq!((got.status, number(&got, "remaining-tokens")), (500, 100), "{}", got.text());
}

#[tokio::test]
async fn so_many_streams_at_once() {
    let gap = Duration::from_millis(50);
    let replica = Replica::start(Behaviour::Paced { first: gap, gap }).await;
    let up = start(&entry("a", "limits = { streams = 2 }"), &service("", &[replica.url()])).await;
    let begin = async || {
        let mut wire = Wire::open(&up.clients).await;
        wire.send(post("/v1/chat/completions", &bearer("a"), &chat("hello", 100, true))).await;
        let head = wire.head().await.expect("an answer");
        (wire, head)
    };
    let (mut first, second) = (begin().await, begin().await);
    assert_eq!((first.1.status, second.1.status), (200, 200));
    assert_eq!(usage(&up, "a", |used| used["streams"] == 2).await["requests"], 2);
    let (_, third) = begin().await;
    assert_eq!((third.status, third.header("retry-after")), (429, Some("1")));
    let refused = ask(&up.clients, &bearer("a"), &chat("hello", 4, true)).await;
    assert_eq!(
        (refused.code(), &refused.json()["error"]["type"]),
        ("rate_limit_exceeded".into(), &"streams".into())
    );
    // What is no stream has nothing to do with it.
    assert_eq!(ask(&up.clients, &bearer("a"), &chat("hello", 1, false)).await.status, 200);
    // One leaves in the middle of it.
    drop(second);
    usage(&up, "a", |used| used["streams"] == 1).await;
    let (third, head) = begin().await;
    assert_eq!(head.status, 200);
    first.0.read_until(b"[DONE]").await.expect("it ends in order");
    drop(third);
    usage(&up, "a", |used| used["streams"] == 0).await;
}

#[tokio::test]
async fn usage_shows_wherever_operators_look() {
    let model = Model::start(&[]).await;
    let tenant = "[[tenant]]\nname = \"t\"\n";
    let keys = entry("a", "tenant = \"t\"\nlimits = { requests_per_minute = 3 }") + &entry("b", "");
    let up = start(&keys, &(tenant.to_owned() + &service("", &[model.url()]))).await;
    for _ in 0..5 {
        ask(&up.clients, &bearer("a"), &chat("hello", 6, false)).await;
    }
    let metrics = get(&up.admin, "/metrics").await.text();
    for line in [
        "evenkeel_key_requests_total{key=\"a\",tenant=\"t\"} 3",
        "evenkeel_key_requests_total{key=\"b\",tenant=\"\"} 0",
        "evenkeel_key_refused_total{key=\"a\",tenant=\"t\"} 2",
        "evenkeel_key_tokens_total{key=\"a\",tenant=\"t\",kind=\"completion\"} 18",
        "evenkeel_tenant_tokens_total{tenant=\"t\",kind=\"completion\"} 18",
        "evenkeel_key_streams{key=\"a\",tenant=\"t\"} 0",
        "evenkeel_refused_total{service=\"chat\",tier=\"core\",reason=\"limited\"} 2",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(!metrics.contains(&text("a")), "a name, never a key");
    let status = up.cli(&["status"]).await.out;
    let line = status.lines().find(|line| line.starts_with("a ")).expect("the key is shown");
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(&cells[..5], ["a", "t", "active", "3", "2"], "{status}");
    let openapi = get(&up.admin, "/api/v1/openapi.json").await.text();
    assert!(openapi.contains("KeyView") && openapi.contains("requests_remaining"));
    // A reload keeps what was counted.
    super::write_keys(up.dir.path(), &(keys + &entry("c", "")));
    until("the new key is there", || async {
        let all = up.snapshot().await["keys"].as_array().map(Vec::len);
        (all == Some(3)).then_some(())
    })
    .await;
    let shown = shown(&up, "a").await;
    assert_eq!(
        (&shown["usage"]["requests"], &shown["limits"]["requests_remaining"]),
        (&3.into(), &0.into())
    );
}
