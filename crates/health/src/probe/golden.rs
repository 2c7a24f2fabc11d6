//! Questions whose answers are known, asked of each replica at an interval: they find one
//! that lies without any traffic. Real traffic proves that a replica answers, not that it
//! tells the truth, so these go on beside it.

use super::http::fetch;
use crate::authority::Target;
use evenkeel_domain::answers::{Golden, GoldenValue, near};
use evenkeel_domain::{Health, Replica, Signal, SignalKind, clock, rng};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Jitter of intervals: replicas must not be asked in step.
const JITTER: f64 = 0.2;
/// A replica that was wrong is asked again after this part of the interval.
const AGAIN: u32 = 6;
/// How soon it is looked at again whether a replica can be asked at all.
const LOOK: Duration = Duration::from_secs(1);
/// Characters of an answer that are shown.
const SHOWN: usize = 80;

/// Asks one replica all its questions for ever; ends at once when there are none.
pub(super) async fn run(target: &Target, signals: &mpsc::Sender<Signal>) {
    let questions = &target.settings.answers.golden;
    futures_util::future::join_all(
        questions.iter().enumerate().map(|(at, q)| ask_on(target, at, q, signals)),
    )
    .await;
}

async fn ask_on(target: &Target, question: usize, golden: &Golden, signals: &mpsc::Sender<Signal>) {
    let mut rng = rng::from_os();
    loop {
        if !can_be_asked(target.replica.live.health(), golden.required) {
            sleep(LOOK.min(golden.interval)).await;
            continue;
        }
        let incarnation = target.replica.live.incarnation();
        let told = timeout(golden.timeout, ask(target, golden)).await.ok().flatten();
        let starting = target.replica.live.health() == Health::Starting;
        let soon = told.as_ref().map_or(starting, |told| !told.right);
        if let Some(Told { right, text }) = told {
            let required = golden.required;
            let kind = SignalKind::Golden { question, right, required, text: text.into() };
            let (replica, at) = (target.replica.id.key, clock::now());
            let signal = Signal { replica, incarnation, observer: "golden", at, kind };
            if signals.send(signal).await.is_err() {
                return;
            }
        }
        let wait = if soon { golden.interval / AGAIN } else { golden.interval };
        sleep(rng::jittered(wait, JITTER, &mut rng)).await;
    }
}

/// One that was isolated for lying must be asked on: nothing else clears it.
/// What is required is asked before anybody else asks.
fn can_be_asked(health: Health, required: bool) -> bool {
    match health {
        Health::Starting => required,
        Health::Draining | Health::Stopped => false,
        _ => true,
    }
}

struct Told {
    right: bool,
    text: String,
}

/// One question. `None` when no answer came that could be judged: that is for other
/// detectors.
async fn ask(target: &Target, golden: &Golden) -> Option<Told> {
    let body = body(&target.replica, target.settings.models.first(), golden);
    let response = fetch(&target.replica, Method::POST, &golden.path, body.into()).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let answer: Value = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
    Some(judge(golden, answer.pointer(pointer(golden)).unwrap_or(&Value::Null)))
}

fn body(replica: &Replica, model: Option<&String>, golden: &Golden) -> String {
    if let Some(body) = &golden.body {
        return body.clone();
    }
    let model = replica.id.model.as_deref().or(model.map(String::as_str));
    let prompt = golden.prompt.as_deref().unwrap_or_default();
    let mut body = json!({ "model": model });
    match golden.path.as_str() {
        "/v1/embeddings" => body["input"] = prompt.into(),
        path => {
            body["temperature"] = 0.into();
            body["max_tokens"] = golden.max_tokens.into();
            if path == "/v1/completions" {
                body["prompt"] = prompt.into();
            } else {
                body["messages"] = json!([{ "role": "user", "content": prompt }]);
            }
        }
    }
    body.to_string()
}

fn pointer(golden: &Golden) -> &str {
    golden.pointer.as_deref().unwrap_or(match golden.path.as_str() {
        "/v1/embeddings" => "/data/0/embedding",
        "/v1/chat/completions" => "/choices/0/message/content",
        "/v1/messages" => "/content/0/text",
        _ => "/choices/0/text",
    })
}

fn judge(golden: &Golden, got: &Value) -> Told {
    let close =
        |want: f64, got: &Value| got.as_f64().is_some_and(|got| near(want, got, golden.tolerance));
    let right = match &golden.expect {
        GoldenValue::Text(want) => got.as_str().is_some_and(|got| got.trim() == want.trim()),
        GoldenValue::Number(want) => close(*want, got),
        GoldenValue::Numbers(want) => got.as_array().is_some_and(|got| {
            got.len() == want.len() && want.iter().zip(got).all(|(want, got)| close(*want, got))
        }),
    };
    let got: String = got.to_string().chars().take(SHOWN).collect();
    Told { right, text: format!("{}: expected {}, got {got}", golden.path, shown(&golden.expect)) }
}

fn shown(expect: &GoldenValue) -> String {
    match expect {
        GoldenValue::Text(text) => format!("{text:?}").chars().take(SHOWN).collect(),
        GoldenValue::Number(number) => number.to_string(),
        GoldenValue::Numbers(numbers) => format!("{} numbers", numbers.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(text: &str) -> Golden {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn answers_are_judged_by_text_and_by_number() {
        let table = [
            (r#"{"expect":"four"}"#, json!(" four\n"), true),
            (r#"{"expect":"four"}"#, json!("five"), false),
            (r#"{"expect":"four"}"#, Value::Null, false),
            (r#"{"expect":4}"#, json!(4), true),
            (r#"{"expect":4}"#, json!("4"), false),
            (r#"{"expect":0.5,"tolerance":1e-3}"#, json!(0.5004), true),
            (r#"{"expect":0.5,"tolerance":1e-3}"#, json!(0.502), false),
            (r#"{"expect":[1,2],"tolerance":1e-3}"#, json!([1.0, 2.0]), true),
            (r#"{"expect":[1,2]}"#, json!([1.0]), false),
            (r#"{"expect":[1,2]}"#, json!([1.0, 3.0]), false),
        ];
        for (text, got, right) in table {
            assert_eq!(judge(&golden(text), &got).right, right, "{text} {got}");
        }
    }

    #[test]
    fn where_to_look_follows_the_path() {
        assert_eq!(pointer(&golden(r#"{"expect":1}"#)), "/choices/0/text");
        let chat = golden(r#"{"expect":"x","path":"/v1/chat/completions"}"#);
        assert_eq!(pointer(&chat), "/choices/0/message/content");
        assert_eq!(pointer(&golden(r#"{"expect":1,"pointer":"/a"}"#)), "/a");
    }
}
