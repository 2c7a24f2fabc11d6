//! The access log: a line for each request, with all that it took and nothing secret.

use crate::support::{Up, ask, chat, post, raw, service, until};
use evenkeel_domain::clock;
use evenkeel_testkit::{Behaviour, Replica, answer, tempdir};
use serde_json::Value;

/// What no line may show besides answers: keys, prompts, queries.
const SECRETS: [&str; 3] = ["hush-key", "hush-prompt", "hush-query"];

/// Three requests: one that needs two attempts, one that is refused, a stream.
async fn three_requests(up: &Up, replica: &Replica) {
    let fields = |id: &str| format!("x-request-id: {id}\r\nauthorization: Bearer hush-key\r\n");
    let next = |status| replica.script([Behaviour::Status { status, retry_after: None }]);
    next(500);
    let twice = post("/v1/chat/completions?key=hush-query", &fields("twice"), &prompt(false));
    assert_eq!(raw(&up.clients, twice).await.expect("an answer").status, 200);
    next(404);
    assert_eq!(ask(&up.clients, &fields("refused"), &prompt(false)).await.status, 404);
    let stream = ask(&up.clients, &fields("stream"), &prompt(true)).await;
    assert!(stream.text().ends_with("data: [DONE]\n\n"), "{}", stream.text());
}

fn reveals_nothing(text: &str) {
    let said = answer::text("hush-prompt", 4);
    for secret in SECRETS.into_iter().chain([said.as_str()]) {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

fn prompt(stream: bool) -> String {
    chat("hush-prompt", 4, stream)
}

/// Evenkeel with these lines of `[log]`, in front of a replica.
async fn logged(log: &str) -> (Up, Replica) {
    let replica = Replica::start(Behaviour::Good).await;
    let services = service("", &[replica.url()]);
    let up = Up::with(&format!("[log]\n{log}\n"), &services).await.ready().await;
    (up, replica)
}

#[tokio::test]
async fn as_json() {
    let dir = tempdir();
    let file = dir.path().join("access.log");
    let began = clock::unix_millis();
    let log = format!("format = \"json\"\naccess = \"{}\"", file.display());
    let (up, replica) = logged(&log).await;
    three_requests(&up, &replica).await;
    let text = until("the last line is written", || async {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        (text.contains("\"stream\"") && text.ends_with('\n')).then_some(text)
    })
    .await;
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    assert_eq!(lines.len(), 3, "a line each: {text}");
    let line = |id: &str| {
        let mut found = lines.iter().filter(|line| line["id"] == id);
        found.next().unwrap_or_else(|| panic!("no line for {id}: {text}"))
    };
    for (id, status, outcome, attempts) in
        [("twice", 200, "ok", 2), ("refused", 404, "client_fault", 1), ("stream", 200, "ok", 1)]
    {
        let line = line(id);
        let expected = serde_json::json!({
            "at_unix_ms": line["at_unix_ms"], "ms": line["ms"], "attempts": attempts,
            "id": id, "client": "127.0.0.1", "method": "POST", "path": "/v1/chat/completions",
            "service": "chat", "status": status, "outcome": outcome,
        });
        assert_eq!(*line, expected, "these fields and no others");
        let at = line["at_unix_ms"].as_u64().expect("a time");
        assert!((began..=clock::unix_millis()).contains(&at), "{line}");
        let took = line["ms"].as_f64().expect("a duration");
        assert!(took > 0.0 && took < 10_000.0, "{line}");
    }
    reveals_nothing(&text);
}

#[tokio::test]
async fn as_text_among_the_other_output() {
    let (up, replica) = logged("access = \"stdout\"").await;
    three_requests(&up, &replica).await;
    let output = until("the last line is written", || async {
        let output = up.process.output();
        output.contains("id=stream\n").then_some(output)
    })
    .await;
    let line = |id: &str| -> Vec<String> {
        let found = output.lines().find(|line| line.ends_with(&format!(" id={id}")));
        let found = found.unwrap_or_else(|| panic!("no line for {id}: {output}"));
        found.split(' ').map(str::to_owned).collect()
    };
    for (id, status, outcome, attempts) in [
        ("twice", "200", "ok", "attempts=2"),
        ("refused", "404", "client_fault", "attempts=1"),
        ("stream", "200", "ok", "attempts=1"),
    ] {
        let line = line(id);
        let [at, client, method, path, service, got, ended, made, took, _] = &line[..] else {
            panic!("ten fields: {line:?}");
        };
        assert!(at.parse::<u64>().is_ok_and(|at| at <= clock::unix_millis()), "{line:?}");
        assert_eq!(
            [client, method, path, service, got, ended, made],
            ["127.0.0.1", "POST", "/v1/chat/completions", "chat", status, outcome, attempts],
        );
        let ms = took.strip_suffix("ms").and_then(|ms| ms.parse::<f64>().ok());
        assert!(ms.is_some_and(|ms| ms > 0.0), "{line:?}");
    }
    reveals_nothing(&output);
}
