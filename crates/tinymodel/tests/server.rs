//! The server over real connections, each test with one of its own.

mod client;

use std::time::Duration;

use client::Server;
use evenkeel_tinymodel::Settings;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn asking(question: &str) -> Value {
    json!({"model": "evenkeel-demo", "temperature": 0, "max_tokens": 40, "ignore_eos": true,
           "messages": [{"role": "user", "content": question}]})
}

fn with(mut body: Value, more: Value) -> Value {
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

fn slow() -> Settings {
    Settings {
        token_interval: Duration::from_millis(20),
        slots: 1,
        queue: 1,
        ..Settings::default()
    }
}

#[tokio::test]
async fn small_endpoints() {
    let server = Server::start(Settings::default()).await;
    assert_eq!(server.get("/health").await.0, 200);
    assert_eq!(server.json("/v1/models").await["data"][0]["id"], "evenkeel-demo");
    assert_eq!(server.json("/v1/models/evenkeel-demo").await["object"], "model");
    assert!(server.json("/version").await["version"].is_string());
    let metrics = server.get("/metrics").await.1;
    assert!(metrics.contains("vllm:num_requests_running{model_name=\"evenkeel-demo\"} 0\n"));
    let text = "An even keel ⚓ — naïve 漢字";
    let tokens = server.ok("/tokenize", &json!({"prompt": text})).await;
    assert_eq!(tokens["count"], tokens["tokens"].as_array().expect("ids").len());
    let back = server.ok("/detokenize", &json!({"tokens": tokens["tokens"]})).await;
    assert_eq!(back["prompt"], text);
}

#[tokio::test]
async fn a_chat_stream_is_the_unary_answer() {
    let server = Server::start(Settings::default()).await;
    let unary = server.ok(CHAT, &asking("Where is the light?")).await;
    assert_eq!(unary["usage"]["completion_tokens"], 40);
    let wanted = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = server.events(CHAT, &with(asking("Where is the light?"), wanted)).await;
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let texts = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(texts.collect::<String>(), unary["choices"][0]["message"]["content"]);
    let [.., finish, usage, done] = &events[..] else { panic!("too few events") };
    assert_eq!(finish["choices"][0]["finish_reason"], "length");
    assert_eq!(usage["usage"], unary["usage"]);
    assert_eq!(done, "[DONE]");
}

#[tokio::test]
async fn a_chat_is_continued_from_any_event_as_text() {
    let server = Server::start(Settings::default()).await;
    let events = server.events(CHAT, &with(asking("A café?"), json!({"stream": true}))).await;
    let texts: Vec<&str> = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    let whole = texts.concat();
    for cut in 1..texts.len() {
        let said = texts[..cut].concat();
        let body = json!({
            "temperature": 0, "max_tokens": 60, "ignore_eos": true,
            "messages": [{"role": "user", "content": "A café?"}, {"role": "assistant", "content": said}],
            "continue_final_message": true, "add_generation_prompt": false,
        });
        let rest = server.ok(CHAT, &body).await;
        let rest = rest["choices"][0]["message"]["content"].as_str().expect("text");
        assert!(format!("{said}{rest}").starts_with(&whole), "cut at {cut}: {said} | {rest}");
    }
}

#[tokio::test]
async fn a_chat_is_continued_from_any_event_as_token_ids() {
    let server = Server::start(Settings::default()).await;
    let wanted = json!({"stream": true, "return_token_ids": true});
    let events = server.events(CHAT, &with(asking("A pilot?"), wanted)).await;
    let prompt = events[0]["prompt_token_ids"].as_array().expect("ids").clone();
    let ids = |events: &[Value]| -> Vec<Value> {
        let lists = events.iter().filter_map(|event| event["choices"][0]["token_ids"].as_array());
        lists.flatten().cloned().collect()
    };
    let whole = ids(&events);
    assert_eq!(whole.len(), 40);
    for cut in [1, 3, 7, 20, 39] {
        let so_far = [&prompt[..], &whole[..cut]].concat();
        let body = json!({
            "prompt": so_far, "temperature": 0,
            "max_tokens": 40 - cut, "ignore_eos": true, "stream": true, "return_token_ids": true,
        });
        assert_eq!(ids(&server.events("/v1/completions", &body).await), whole[cut..]);
    }
}

#[tokio::test]
async fn completions_take_every_kind_of_prompt() {
    let server = Server::start(Settings::default()).await;
    let ask = async |prompt: Value| {
        let body =
            json!({"prompt": prompt, "temperature": 0, "n": 2, "max_tokens": 5, "echo": true});
        let answer = server.ok("/v1/completions", &body).await;
        let choices = answer["choices"].as_array().expect("choices");
        choices
            .iter()
            .map(|choice| choice["text"].as_str().expect("text").to_owned())
            .collect::<Vec<_>>()
    };
    let text = ask(json!("The ship")).await;
    assert!(text[0].starts_with("The ship ") && text.len() == 2);
    let ids = server.ok("/tokenize", &json!({"prompt": "The ship"})).await["tokens"].clone();
    assert_eq!(ask(ids.clone()).await, text);
    assert_eq!(ask(json!(["The ship", "A leak"])).await[..2], text);
    assert_eq!(ask(json!([ids, [272]])).await.len(), 4);
}

#[tokio::test]
async fn a_stop_ends_the_text_before_it() {
    let server = Server::start(Settings::default()).await;
    let whole = server.ok(CHAT, &asking("Where is the light?")).await;
    let whole = whole["choices"][0]["message"]["content"].as_str().expect("text");
    let stop = &whole[17..25];
    let body = with(asking("Where is the light?"), json!({"stop": ["nowhere", stop]}));
    let cut = server.ok(CHAT, &body).await;
    assert_eq!(cut["choices"][0]["message"]["content"], whole[..whole.find(stop).expect("there")]);
    assert_eq!(cut["choices"][0]["finish_reason"], "stop");
    assert_eq!(cut["choices"][0]["stop_reason"], stop);
}

#[tokio::test]
async fn anthropic_messages() {
    let server = Server::start(Settings::default()).await;
    let body = asking("Where is the light?");
    let unary = server.ok("/v1/messages", &body).await;
    let chat = server.ok(CHAT, &body).await;
    assert_eq!(unary["content"][0]["text"], chat["choices"][0]["message"]["content"]);
    assert_eq!(unary["stop_reason"], "max_tokens");
    let events = server.events("/v1/messages", &with(body.clone(), json!({"stream": true}))).await;
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(kinds[..4], ["message_start", "content_block_start", "ping", "content_block_delta"]);
    assert_eq!(kinds[kinds.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let refused = server.post("/v1/messages", &with(body, json!({"model": "x"})).to_string()).await;
    assert_eq!(refused.0, 404);
    assert!(refused.1.contains("\"not_found_error\""));
}

#[tokio::test]
async fn responses_and_embeddings() {
    let server = Server::start(Settings::default()).await;
    let body = json!({"input": "Where is the light?", "temperature": 0, "max_output_tokens": 9});
    let unary = server.ok("/v1/responses", &body).await;
    let events = server.events("/v1/responses", &with(body, json!({"stream": true}))).await;
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let last = events.last().expect("events");
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["output"][0]["content"], unary["output"][0]["content"]);

    let body = json!({"input": ["a ship", "a ship", "the fog"]});
    let found = server.ok("/v1/embeddings", &body).await;
    assert_eq!(found["data"][0]["embedding"], found["data"][1]["embedding"]);
    assert_ne!(found["data"][0]["embedding"], found["data"][2]["embedding"]);
    assert_eq!(found["data"][0]["embedding"].as_array().expect("floats").len(), 64);
}

#[tokio::test]
async fn refusals_say_what_is_wrong() {
    let server = Server::start(Settings { body_limit: 10_000, ..Settings::default() }).await;
    let refused = async |body: Value| {
        let (status, text) = server.post(CHAT, &body.to_string()).await;
        let error = serde_json::from_str::<Value>(&text).expect("JSON")["error"].clone();
        (status, error["param"].as_str().unwrap_or_default().to_owned())
    };
    let hello = || asking("Hello");
    assert_eq!(server.post(CHAT, "{oops").await.0, 400);
    assert_eq!(server.post(CHAT, "[]").await.0, 400);
    assert_eq!(server.get(CHAT).await.0, 405);
    assert_eq!(server.get("/v2/nothing").await.0, 404);
    assert_eq!(server.post("/v2/nothing", "{}").await.0, 404);
    assert_eq!(refused(with(hello(), json!({"model": "other"}))).await, (404, "model".into()));
    assert_eq!(refused(json!({})).await, (400, "messages".into()));
    for (name, wrong) in [
        ("temperature", json!("hot")),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(9_000)),
        ("stream", json!(1)),
        ("stop", json!([""])),
        ("n", json!(-1)),
        ("top_p", json!(1.5)),
        ("seed", json!(0.5)),
        ("logprobs", json!(true)),
        ("stream_options", json!([])),
        ("continue_final_message", json!(true)),
    ] {
        let name_of =
            if name == "max_tokens" && wrong == 9_000 { "max_completion_tokens" } else { name };
        assert_eq!(
            refused(with(hello(), json!({name: wrong}))).await,
            (400, name_of.into()),
            "{wrong}"
        );
    }
    assert_eq!(refused(asking(&"x".repeat(20_000))).await.0, 413);
    let ids = json!({"prompt": [1, 99_999_999]}).to_string();
    assert_eq!(server.post("/v1/completions", &ids).await.0, 400);
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_client_that_leaves_frees_its_place() {
    let server = Server::start(slow()).await;
    for stream in [true, false] {
        let body =
            with(asking("Hello"), json!({"stream": stream, "max_tokens": 5_000})).to_string();
        let running = server.begin(CHAT, &body).await;
        server.until("num_requests_running", 1).await;
        let waiting = server.begin(CHAT, &body).await;
        server.until("num_requests_waiting", 1).await;
        assert_eq!(server.post(CHAT, &body).await.0, 503);
        drop(waiting);
        server.until("num_requests_waiting", 0).await;
        drop(running);
        server.until("num_requests_running", 0).await;
    }
}

#[tokio::test]
async fn tokens_come_at_the_set_pace_and_one_by_one() {
    let server = Server::start(slow()).await;
    let body = with(asking("Hello"), json!({"stream": true, "max_tokens": 10}));
    let start = tokio::time::Instant::now();
    let events = server.events(CHAT, &body).await;
    // Nine gaps of 20 ms; the first token has none before it.
    assert!(start.elapsed() >= Duration::from_millis(175), "{:?}", start.elapsed());
    assert_eq!(events.len(), 1 + 10 + 2);
}

#[tokio::test]
async fn loading_answers_only_to_liveness() {
    let load_time = Duration::from_millis(300);
    let server = Server::start(Settings { load_time, ..Settings::default() }).await;
    assert_eq!(server.get("/livez").await.0, 200);
    assert_eq!(server.get("/health").await.0, 503);
    assert!(server.post(CHAT, "{}").await.1.contains("Loading model"));
    tokio::time::sleep(load_time).await;
    assert_eq!(server.get("/health").await.0, 200);
}

#[tokio::test]
async fn shutdown_lets_a_running_answer_end() {
    let server = Server::start(slow()).await;
    let body = with(asking("Hello"), json!({"stream": true, "max_tokens": 10}));
    let (events, ()) = tokio::join!(server.events(CHAT, &body), async {
        server.until("num_requests_running", 1).await;
        server.stop();
    });
    assert_eq!(events.last().expect("events"), "[DONE]");
    server.ended().await;
}

#[tokio::test]
async fn a_server_without_its_model_loads_it_when_told_and_frees_it_again() {
    let load_time = Duration::from_millis(50);
    let settings = Settings { unloaded: true, load_time, ..Settings::default() };
    let server = Server::start(settings).await;
    assert_eq!(server.get("/livez").await.0, 200);
    assert_eq!(server.get("/health").await.0, 503);
    for _ in 0..2 {
        assert_eq!(server.post("/wake_up", "{}").await.0, 200);
        assert_eq!(server.get("/health").await.0, 200, "it has waited for the model");
    }
    server.ok(CHAT, &asking("Where is the light?")).await;
    for _ in 0..2 {
        assert_eq!(server.post("/sleep", "{}").await.0, 200);
        assert_eq!(server.get("/health").await.0, 503);
    }
    assert_eq!(server.post(CHAT, &asking("Where is the light?").to_string()).await.0, 503);
}
