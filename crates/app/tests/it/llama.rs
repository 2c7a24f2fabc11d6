//! llama.cpp's server as the replica: a real engine with its own idea of how to go on with
//! an answer. Its models are small and seeded; each token of `tiny-char` is one character,
//! so a lost or doubled one shows.

use crate::support::{SOON, Stream, Up, ask, get, until};
use evenkeel_testkit::process;
use serde_json::json;
use std::path::PathBuf;

/// Long enough to be killed in the middle.
const TOKENS: u32 = 3000;

fn llama() -> PathBuf {
    PathBuf::from(std::env::var_os("EVENKEEL_TEST_LLAMA").expect(
        "EVENKEEL_TEST_LLAMA names a directory made by crates/testkit/llama/build; \
         scripts/test makes one, `scripts/test --quick` leaves these tests out",
    ))
}

/// Evenkeel, with two servers of this model that it runs itself.
async fn up(model: &str) -> Up {
    let (bin, dir) = (llama().join("bin/llama-server"), llama().join("models"));
    let command = [
        bin.to_string_lossy().as_ref(),
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
        "-m",
        &dir.join(model).to_string_lossy(),
        "--alias",
        "test",
        "-c",
        "16384",
        "-np",
        "2",
        "-t",
        "1",
        "-tb",
        "1",
        "--seed",
        "1",
        "--slots",
        "--no-webui",
    ]
    .map(|word| format!("{word:?}"))
    .join(", ");
    let services = format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"test\"]\n[[service.replica]]\ncommand = \
         [{command}]\ncopies = 2\n"
    );
    Up::start(&services).await.ready().await
}

fn body(stream: bool, tokens: u32) -> String {
    json!({"model": "test", "max_tokens": tokens, "temperature": 0, "stream": stream,
        "messages": [{"role": "user", "content": "Tell me of the sea"}]})
    .to_string()
}

/// The text of a stream whose replica is killed as soon as its client has the first token. Not
/// later: of a long text each server computes the end a little differently when it reads the
/// beginning at once, and these models do not know what they want.
async fn killed_in_the_middle(up: &Up) -> String {
    let pids = up.pids().await;
    let stream = Stream::begin(up, &body(true, TOKENS)).await;
    let at = up.replicas().await.iter().position(|r| r["in_flight"].as_u64() > Some(0));
    process::kill9(pids[at.expect("one replica serves")]);
    tokio::time::timeout(3 * SOON, stream.end()).await.expect("it ends")
}

/// What both servers say when nobody disturbs them.
async fn right(up: &Up) -> String {
    let answer = ask(&up.clients, "", &body(false, TOKENS)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.json()["choices"][0]["message"]["content"].clone();
    text.as_str().unwrap_or_default().to_owned()
}

async fn resumes(model: &str) {
    let up = up(model).await;
    let right = right(&up).await;
    assert_eq!(killed_in_the_middle(&up).await, right);
    let counts = &up.snapshot().await["services"][0];
    assert_eq!(counts["broken_streams"], 0, "{counts}");
    let resumed = counts["resumed"].as_object().expect("it is told");
    let all: u64 = resumed.values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(all, 1, "{counts}");
}

#[tokio::test]
async fn foreign_llama_server_killed_in_the_middle_of_a_stream() {
    resumes("tiny-char.gguf").await;
}

/// Its text is not cut into the same tokens again: going on from text would be wrong.
#[tokio::test]
async fn foreign_llama_server_whose_text_means_other_tokens() {
    resumes("tiny-bpe.gguf").await;
}

/// It would run an abandoned unary request to its end.
#[tokio::test]
async fn foreign_llama_server_stops_when_a_unary_client_leaves() {
    let up = up("tiny-char.gguf").await;
    // The first answer tells what server this is.
    assert_eq!(ask(&up.clients, "", &body(false, 2)).await.status, 200);
    let asking = body(false, 7000);
    let clients = up.clients.clone();
    let leaving = tokio::spawn(async move { ask(&clients, "", &asking).await });
    until("it is under way", || async {
        let replicas = up.replicas().await;
        replicas.iter().any(|r| r["in_flight"].as_u64() > Some(0)).then_some(())
    })
    .await;
    leaving.abort();
    until("every slot is free", || async {
        let mut free = true;
        for replica in up.replicas().await {
            let address = replica["url"].as_str()?.strip_prefix("http://")?.to_owned();
            let slots = get(&address, "/slots").await;
            free &= slots.json().as_array()?.iter().all(|s| s["is_processing"] == false);
        }
        free.then_some(())
    })
    .await;
}
