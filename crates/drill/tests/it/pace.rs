use crate::load::{go, settings};
use crate::server::Server;
use evenkeel_domain::clock::now;
use evenkeel_drill::load::{Arrivals, LoadSettings, Mode, Outcome};
use std::io::Write;
use std::time::Duration;

fn open(server: &Server, rate: f64, max_in_flight: usize, seconds: f64) -> LoadSettings {
    LoadSettings {
        mode: Mode::Open { rate, arrivals: Arrivals::Even, max_in_flight },
        duration: Some(Duration::from_secs_f64(seconds)),
        requests: None,
        timeout: Duration::from_secs(5),
        ..settings(server, 1, 0)
    }
}

/// The test that a closed loop fails: a stall of 500 ms in 1.5 s must be seen by a third of
/// the requests, even if only few could be under way meanwhile.
#[tokio::test]
async fn a_stall_shows_in_the_latency_of_an_open_loop() {
    for max_in_flight in [4, 1_000] {
        let server = Server::start(|_| None).await;
        server.freeze_until(now() + Duration::from_millis(500));
        let report = go(open(&server, 200.0, max_in_flight, 1.5)).await;
        assert_eq!((report.totals.ok, report.totals.unsent), (300, 0));
        let latency = report.latency;
        assert!(latency.max > 400.0 && latency.max < 700.0, "{latency:?}");
        assert!(latency.p90 > 250.0, "{latency:?}");
        assert!(latency.p50 < 100.0, "{latency:?}");
        assert_eq!(report.timeline[0].offered, 200);
    }
    let server = Server::start(|_| None).await;
    server.freeze_until(now() + Duration::from_millis(500));
    let closed = LoadSettings {
        duration: Some(Duration::from_millis(1_500)),
        requests: None,
        timeout: Duration::from_secs(5),
        ..settings(&server, 1, 0)
    };
    let latency = go(closed).await.latency;
    assert!(latency.p90 < 100.0, "a closed loop hides the stall: {latency:?}");
}

#[tokio::test]
async fn what_could_not_be_sent_is_said() {
    let server = Server::start(|_| None).await;
    server.freeze_until(now() + Duration::from_millis(600));
    let report = go(open(&server, 100.0, 10, 0.5)).await;
    assert_eq!((report.totals.requests, report.totals.unsent), (10, 40));
    assert_eq!(report.timeline[0].offered, 50);
}

#[tokio::test]
async fn requests_are_sent_when_they_are_due() {
    let server = Server::start(|_| None).await;
    let report = go(open(&server, 300.0, 100, 1.0)).await;
    assert_eq!(report.totals.ok, 300);
    // Far below a millisecond on an idle machine; tests share theirs.
    assert!(report.send_delay.p50 < 5.0, "{:?}", report.send_delay);
}

#[tokio::test]
async fn a_trace_keeps_times_and_sizes() {
    let server = Server::start(|_| None).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "TIMESTAMP,ContextTokens,GeneratedTokens").unwrap();
    for (at, input, output) in [("00.0", 10, 1), ("02.0", 20, 2), ("02.0", 30, 3), ("05.5", 40, 4)]
    {
        writeln!(file, "2024-01-01 00:00:{at},{input},{output}").unwrap();
    }
    let trace = LoadSettings {
        mode: Mode::Trace { path: file.path().into(), speed: 10.0, max_in_flight: 10 },
        requests: None,
        ..settings(&server, 1, 0)
    };
    let report = go(trace).await;
    assert_eq!((report.totals.requests, report.count(Outcome::Ok)), (4, 4));
    let mut seen = server.seen();
    seen.sort_by_key(|(_, body)| body["max_tokens"].as_u64());
    let start = seen[0].0;
    for ((at, body), (due, tokens)) in seen.iter().zip([(0, 10), (200, 20), (200, 30), (550, 40)]) {
        let off = (*at - start).abs_diff(Duration::from_millis(due));
        assert!(off < Duration::from_millis(60), "{due} ms: off by {off:?}");
        assert_eq!(body["messages"][0]["content"].as_str().unwrap().len(), tokens * 4);
    }
}
