use crate::server::{Server, events, raw_events, text, unary};
use evenkeel_drill::load::{Api, LoadError, LoadSettings, Mode, Outcome, Report, Silent, run};
use std::time::Duration;

pub(crate) fn settings(server: &Server, connections: usize, requests: u64) -> LoadSettings {
    LoadSettings {
        url: server.url(),
        mode: Mode::Closed { connections },
        duration: None,
        requests: Some(requests),
        timeout: Duration::from_millis(500),
        workers: 2,
        ..LoadSettings::default()
    }
}

pub(crate) async fn go(settings: LoadSettings) -> Report {
    run(settings, &Silent, std::future::pending()).await.unwrap()
}

#[tokio::test]
async fn counts_are_exact() {
    let server = Server::start(|n| match n {
        0..10 => Some(text(500, "no")),
        10..15 => Some(text(429, "busy")),
        15..18 => Some(text(200, &unary("x")[..20])),
        18..20 => Some(text(302, "")),
        20 => Some(text(200, "")),
        _ => None,
    })
    .await;
    let report = go(settings(&server, 5, 200)).await;
    assert_eq!(server.count(), 200);
    assert_eq!((report.totals.requests, report.totals.ok, report.totals.failed), (200, 179, 21));
    assert_eq!(report.count(Outcome::Http5xx), 10);
    assert_eq!(report.count(Outcome::Http4xx), 5);
    assert_eq!(report.count(Outcome::Truncated), 4);
    assert_eq!(report.count(Outcome::Http3xx), 2);
    assert_eq!((report.latency.count, report.failed_wait.count), (179, 21));
    assert_eq!(report.timeline.iter().map(|s| s.offered).sum::<u64>(), 200);
    assert_eq!(report.timeline.iter().map(|s| s.ok + s.failed).sum::<u64>(), 200);
    let first = &report.failures[0];
    assert!(
        first.text.contains("no") && first.count == 10,
        "those alike are shown once: {first:?}"
    );
    assert_eq!(report.failures.iter().map(|f| f.count).sum::<u64>(), 21);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["outcomes"]["http_4xx"], 5);
    assert_eq!(json["settings"]["mode"]["closed"]["connections"], 5);
    let table = report.table();
    assert!(table.contains("179 ok, 21 failed") && table.contains("http_5xx"), "{table}");
}

#[tokio::test]
async fn streams_are_timed_and_judged() {
    let server = Server::start(|n| match n {
        0 => Some(raw_events(vec![r#"{"error":{"message":"lost"}}"#.into()], Duration::ZERO)),
        1 => Some(raw_events(
            vec![r#"{"choices":[{"delta":{"role":"assistant","content":"a"}}]}"#.into()],
            Duration::ZERO,
        )),
        _ => Some(events(&["a", "b", "c"], Duration::from_millis(20))),
    })
    .await;
    let report = go(LoadSettings { stream: true, ..settings(&server, 4, 20) }).await;
    assert_eq!(report.count(Outcome::Ok), 18);
    assert_eq!(report.count(Outcome::ErrorEvent), 1);
    assert_eq!(report.count(Outcome::Truncated), 1);
    assert_eq!((report.ttft.count, report.gap.count), (19, 36));
    assert_eq!(report.totals.tokens, 18 * 3 + 1);
    assert!((15.0..60.0).contains(&report.gap.p50), "{:?}", report.gap);
    assert!((15.0..90.0).contains(&report.ttft.p50), "{:?}", report.ttft);
}

fn typed_json() -> crate::server::Reply {
    let mut reply = text(200, &unary("x"));
    let json = http::HeaderValue::from_static("application/json");
    reply.headers_mut().insert(http::header::CONTENT_TYPE, json);
    reply
}

#[tokio::test]
async fn plain_http_and_http2() {
    let server = Server::start(|_| None).await;
    let plain = LoadSettings { api: Api::Plain, ..settings(&server, 2, 20) };
    assert_eq!(go(plain).await.totals.ok, 20);
    for stream in [false, true] {
        let h2 = LoadSettings { h2: true, stream, ..settings(&server, 2, 20) };
        assert_eq!(go(h2).await.totals.ok, 20);
    }
    let ignored = Server::start(|_| Some(typed_json())).await;
    let stream = LoadSettings { stream: true, ..settings(&ignored, 2, 5) };
    assert_eq!(go(stream).await.count(Outcome::Wrong), 5, "`stream` was ignored");
    let completions = LoadSettings { api: Api::Completions, ..settings(&server, 2, 5) };
    // The server answers chat only: an answer of the wrong kind is found.
    assert_eq!(go(completions).await.count(Outcome::Wrong), 5);
}

#[tokio::test]
async fn a_server_that_hangs_times_out_and_one_that_is_gone_refuses() {
    let server = Server::start(|_| None).await;
    server.freeze_until(evenkeel_domain::clock::now() + Duration::from_secs(60));
    let hung = LoadSettings { timeout: Duration::from_millis(50), ..settings(&server, 3, 6) };
    let report = go(hung).await;
    assert_eq!(report.count(Outcome::Timeout), 6);
    assert!(report.failed_wait.p50 >= 50.0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let gone = LoadSettings { url, ..settings(&server, 3, 6) };
    assert_eq!(go(gone).await.count(Outcome::Refused), 6);
}

#[tokio::test]
async fn an_early_end_reports_what_was_seen() {
    let server = Server::start(|n| {
        (n < 30)
            .then(|| text(200, &unary("x")))
            .or_else(|| Some(events(&["a"; 1000], Duration::from_millis(10))))
    })
    .await;
    let endless = LoadSettings {
        duration: Some(Duration::from_secs(600)),
        requests: None,
        timeout: Duration::from_secs(600),
        ..settings(&server, 4, 0)
    };
    let watched = server.clone();
    let shutdown = async move {
        while watched.count() < 34 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let start = evenkeel_domain::clock::now();
    let report = run(endless, &Silent, shutdown).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    let totals = report.totals;
    assert!(totals.ended_early);
    assert_eq!((totals.requests, totals.ok, totals.interrupted), (34, 30, 4));
}

#[tokio::test]
async fn warm_up_does_not_count() {
    let server = Server::start(|n| (n < 5).then(|| text(500, "cold"))).await;
    let warm = LoadSettings {
        warm_up: Duration::from_millis(100),
        duration: Some(Duration::from_millis(200)),
        requests: None,
        ..settings(&server, 2, 0)
    };
    let report = go(warm).await;
    let totals = report.totals;
    assert_eq!(totals.failed, 0);
    assert!(totals.warm_up >= 5);
    assert_eq!(totals.warm_up + totals.requests, server.count());
}

#[tokio::test]
async fn settings_that_cannot_be_carried_out_say_why() {
    let server = Server::start(|_| None).await;
    let good = settings(&server, 1, 1);
    let bad = [
        (LoadSettings { url: "nowhere".into(), ..good.clone() }, "http://"),
        (LoadSettings { body: Some("/none".into()), api: Api::Plain, ..good }, "/none"),
    ];
    for (settings, why) in bad {
        let error: LoadError = run(settings, &Silent, async {}).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
