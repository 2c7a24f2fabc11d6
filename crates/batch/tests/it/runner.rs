//! What becomes of batches.

use crate::support::{House, Replicas, START, answer, ids, line, lines, settings};
use evenkeel_batch::{Done, Runner};
use evenkeel_domain::durable::{Fence, StoreError, WorkStore};
use http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_batch_is_answered_line_by_line() {
    let replicas = Replicas::new(|call, _| match call.index {
        // The first answers come last: the output is in order all the same.
        3 => (10 * MS, answer(400, br#"{"error":{"message":"no"}}"#)),
        n => (
            (100 - n) * MS,
            answer(200, br#"{"ok":true,"usage":{"prompt_tokens":2,"completion_tokens":3}}"#),
        ),
    });
    let house = House::new(replicas, settings());
    let id = house.order(&lines(10)).await;
    let runner = house.runner();
    let batch = house.until(&id, "completed").await;
    assert_eq!(batch["request_counts"], json!({ "total": 10, "completed": 9, "failed": 1 }));
    assert_eq!((&batch["model"], &batch["errors"]), (&json!("m"), &Value::Null));
    assert_eq!(batch["usage"]["total_tokens"], 45);
    for at in ["in_progress_at", "finalizing_at", "completed_at"] {
        assert!(batch[at].as_u64().is_some_and(|at| at >= START / 1000), "{at}");
    }
    let output = house.read(&batch["output_file_id"]).await;
    assert_eq!(ids(&output), ["0", "1", "2", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(output[0]["response"]["body"]["ok"], true);
    assert_eq!(
        (&output[0]["response"]["status_code"], &output[0]["error"]),
        (&json!(200), &Value::Null)
    );
    let errors = house.read(&batch["error_file_id"]).await;
    assert_eq!(ids(&errors), ["3"]);
    assert_eq!(errors[0]["response"]["status_code"], 400);
    assert_eq!(errors[0]["response"]["body"]["error"]["message"], "no");
    assert_eq!(house.replicas.most(), 4, "as many at once as may be, and no more");
    let calls = house.replicas.calls.lock().unwrap().clone();
    assert_eq!(calls.len(), 10);
    assert_eq!(calls[7].idempotency_key, format!("{id}-7"));
    assert_eq!((&*calls[7].path, calls[7].owner.as_str()), ("/v1/echo", "a"));
    let body: Value = serde_json::from_slice(&calls[7].body).unwrap();
    assert_eq!(body, json!({ "model": "m", "n": "7" }));
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_makes_no_sense_fails_its_batch() {
    let house = House::quiet();
    let runner = house.runner();
    let content = format!("{}{{\n{}", line("x"), line("x"));
    let id = house.order(&content).await;
    let batch = house.until(&id, "failed").await;
    assert!(batch["failed_at"].is_u64() && batch["output_file_id"].is_null());
    assert_eq!(batch["errors"]["object"], "list");
    let errors = batch["errors"]["data"].as_array().unwrap();
    assert_eq!(
        errors[0],
        json!({
            "code": "invalid_json_line", "line": 2, "param": null,
            "message": "This line is not parseable as valid JSON.",
        })
    );
    assert_eq!(
        (&errors[1]["code"], &errors[1]["line"]),
        (&json!("duplicate_custom_id"), &json!(3))
    );
    for (content, code) in [("", "empty_file"), (&lines(1001), "too_many_tasks")] {
        let id = house.order(content).await;
        let batch = house.until(&id, "failed").await;
        assert_eq!(batch["errors"]["data"][0]["code"], code);
    }
    assert_eq!(house.replicas.count(), 0, "nothing of it is sent");
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_comes_again_until_there_is_room() {
    let began = Instant::now();
    let replicas = Replicas::new(move |call, before| match (call.index, before) {
        _ if began.elapsed() < 60 * SECOND => (MS, Done::Later { retry_after: None }),
        (0, 0..9) => {
            let retry_after = Some(2 * SECOND);
            (MS, Done::Answer { status: 429, request_id: None, retry_after, body: Vec::new() })
        }
        _ => (MS, answer(200, b"{}")),
    });
    let house = House::new(replicas, settings());
    let runner = house.runner();
    let id = house.order(&lines(20)).await;
    let batch = house.until(&id, "completed").await;
    assert_eq!(batch["request_counts"]["completed"], 20);
    assert!(runner.stats().refused > 5);
    let calls = house.replicas.count();
    assert!(calls < 200, "a service that is down is asked now and then: {calls}");
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_fault_is_tried_again_and_then_told() {
    let replicas = Replicas::new(|call, before| match (call.index, before) {
        (1, 0..2) => (MS, answer(500, b"{}")),
        (2, _) => (MS, answer(502, br#"{"error":{"message":"dead"}}"#)),
        (3, _) => panic!("as a bug would"),
        _ => (MS, answer(200, b"{}")),
    });
    let house = House::new(replicas, settings());
    let runner = house.runner();
    let id = house.order(&lines(5)).await;
    let batch = house.until(&id, "completed").await;
    assert_eq!(batch["request_counts"], json!({ "total": 5, "completed": 3, "failed": 2 }));
    let errors = house.read(&batch["error_file_id"]).await;
    assert_eq!(ids(&errors), ["2", "3"]);
    assert_eq!(errors[0]["response"]["status_code"], 502);
    assert_eq!(errors[1]["error"]["code"], "internal_error");
    let calls = house.replicas.calls.lock().unwrap().clone();
    let of = |index| calls.iter().filter(|call| call.index == index).count();
    assert_eq!([of(0), of(1), of(2), of(3), of(4)], [1, 3, 3, 3, 1]);
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_runs_out_of_time_has_what_was_answered() {
    let replicas = Replicas::new(|call, _| match call.index {
        0..5 => (MS, answer(200, b"{}")),
        _ => (10_000 * SECOND, answer(200, b"{}")),
    });
    let house = House::new(replicas, settings());
    let runner = house.runner();
    let id = house.order(&lines(20)).await;
    let batch = house.until(&id, "expired").await;
    let at = batch["expired_at"].as_u64().unwrap() - START / 1000;
    assert!((600..603).contains(&at), "after {at} s");
    assert_eq!(batch["request_counts"], json!({ "total": 20, "completed": 5, "failed": 15 }));
    assert_eq!(ids(&house.read(&batch["output_file_id"]).await), ["0", "1", "2", "3", "4"]);
    let errors = house.read(&batch["error_file_id"]).await;
    assert_eq!(errors.len(), 15);
    assert_eq!(
        (&errors[0]["error"]["code"], &errors[0]["response"]),
        (&json!("batch_expired"), &Value::Null)
    );
    assert_eq!(house.replicas.under_way(), 0, "what is not wanted is given up");
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_batch_ends_soon_and_has_what_was_answered() {
    let replicas = Replicas::new(|call, _| match call.index {
        0..3 => (MS, answer(200, b"{}")),
        3 => (SECOND, answer(200, b"{}")),
        _ => (10_000 * SECOND, answer(200, b"{}")),
    });
    let house = House::new(replicas, settings());
    let runner = house.runner();
    let id = house.order(&lines(20)).await;
    tokio::time::sleep(SECOND / 2).await;
    let path = format!("/v1/batches/{id}/cancel");
    let (status, batch) = house.call("a", "POST", &path, None).await;
    assert_eq!((status, &batch["status"]), (StatusCode::OK, &json!("cancelling")));
    assert_eq!(house.call("a", "POST", &path, None).await, (status, batch), "twice is once");
    let began = Instant::now();
    let batch = house.until(&id, "cancelled").await;
    let took = began.elapsed();
    assert!(took > 4 * SECOND && took < 6 * SECOND, "the grace is 5 s: {took:?}");
    assert!(batch["cancelled_at"].is_u64() && batch["cancelling_at"].is_u64());
    assert_eq!(batch["request_counts"], json!({ "total": 20, "completed": 4, "failed": 16 }));
    assert_eq!(ids(&house.read(&batch["output_file_id"]).await), ["0", "1", "2", "3"]);
    let errors = house.read(&batch["error_file_id"]).await;
    assert_eq!((errors.len(), &errors[0]["error"]["code"]), (16, &json!("batch_cancelled")));
    let (status, refused) = house.call("a", "POST", &path, None).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (StatusCode::CONFLICT, &json!("invalid_batch_status"))
    );
    assert_eq!(house.replicas.count(), 7, "nothing was sent after that");
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_cancelled_before_anyone_looked_at_it() {
    let house = House::quiet();
    let id = house.order(&lines(5)).await;
    house.call("a", "POST", &format!("/v1/batches/{id}/cancel"), None).await;
    let runner = house.runner();
    let batch = house.until(&id, "cancelled").await;
    assert_eq!(batch["request_counts"]["total"], 0);
    assert!(batch["output_file_id"].is_null() && batch["error_file_id"].is_null());
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn batch_work_yields_to_who_waits() {
    let house = House::new(Replicas::echo(SECOND), settings());
    house.busy.send_replace(true);
    let runner = house.runner();
    let id = house.order(&lines(40)).await;
    house.until(&id, "in_progress").await;
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(house.replicas.count(), 0, "nothing while others wait");
    house.busy.send_replace(false);
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(house.replicas.under_way(), 4);
    house.busy.send_replace(true);
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!((house.replicas.count(), house.replicas.under_way()), (4, 0));
    runner.set_limit(2);
    house.busy.send_replace(false);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(house.replicas.under_way(), 2);
    runner.set_limit(8);
    house.until(&id, "completed").await;
    assert_eq!(house.replicas.most(), 8);
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_down_holds_up_nobody_else() {
    let replicas = Replicas::new(|call, _| match call.owner.as_str() {
        "b" => (MS, Done::Later { retry_after: None }),
        _ => (MS, answer(200, b"{}")),
    });
    let house = House::new(replicas, settings());
    let runner = house.runner();
    let form = crate::support::Form::default().field("purpose", "batch").file("f", &lines(500));
    let (_, input) = house.upload_as("b", form).await;
    let order = json!({
        "input_file_id": input["id"], "endpoint": "/v1/echo", "completion_window": "24h",
    });
    house.call("b", "POST", "/v1/batches", Some(order)).await;
    tokio::time::sleep(5 * SECOND).await;
    let began = Instant::now();
    let id = house.order(&lines(200)).await;
    house.until(&id, "completed").await;
    assert!(began.elapsed() < 5 * SECOND, "{:?}", began.elapsed());
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_next_goes_on_where_the_last_one_stopped() {
    let house = House::new(Replicas::echo(SECOND), settings());
    let id = house.order(&lines(40)).await;
    // One that stops in order gives its lease back and keeps its answers.
    let first = house.runner();
    tokio::time::sleep(SECOND * 5 / 2).await;
    first.stop(2 * SECOND).await;
    let stopped = house.batch(&id).await["request_counts"]["completed"].as_u64().unwrap();
    assert_eq!((stopped, house.replicas.count()), (12, 12));
    // One that dies leaves what was under way to be sent again, once its lease has run out.
    let second = house.runner();
    tokio::time::sleep(SECOND * 5 / 2).await;
    assert_eq!(house.replicas.under_way(), 4);
    drop(second);
    tokio::task::yield_now().await;
    let third = house.runner();
    tokio::time::sleep(7 * SECOND).await;
    assert!(!third.stats().leads, "the lease holds for 10 s");
    let batch = house.until(&id, "completed").await;
    assert!(third.stats().leads);
    assert_eq!(batch["request_counts"]["completed"], 40);
    assert_eq!(house.replicas.count(), 44, "four were sent twice");
    let output = house.read(&batch["output_file_id"]).await;
    let expected: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    assert_eq!(ids(&output), expected, "and answered once");
    third.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_only_one_executes() {
    let house = House::new(Replicas::echo(SECOND), settings());
    let (one, two) = (house.runner(), house.runner());
    let id = house.order(&lines(20)).await;
    house.until(&id, "completed").await;
    assert_eq!(house.replicas.count(), 20);
    assert!(one.stats().leads != two.stats().leads);
    tokio::join!(one.stop(SECOND), two.stop(SECOND));
}

#[tokio::test(start_paused = true)]
async fn batches_of_several_owners_take_turns() {
    let mut few = settings();
    (few.active_batches, few.concurrency) = (2, 2);
    let house = House::new(Replicas::echo(SECOND), few);
    for _ in 0..3 {
        house.order(&lines(50)).await;
    }
    let form = crate::support::Form::default().field("purpose", "batch").file("f", &lines(5));
    let (_, input) = house.upload_as("b", form).await;
    let order = json!({
        "input_file_id": input["id"], "endpoint": "/v1/echo", "completion_window": "24h",
    });
    let (_, batch) = house.call("b", "POST", "/v1/batches", Some(order)).await;
    let runner = house.runner();
    tokio::time::sleep(15 * SECOND).await;
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    let (_, batch) = house.call("b", "GET", &path, None).await;
    assert_eq!(batch["status"], "completed", "it need not wait for those that came before");
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_cleaned_up_in_time() {
    let mut short = settings();
    (short.file_expiry, short.retention) = (1000 * SECOND, 1000 * SECOND);
    let house = House::new(Replicas::echo(MS), short);
    let runner = house.runner();
    let id = house.order(&lines(50)).await;
    let batch = house.until(&id, "completed").await;
    let content = house.used().await;
    tokio::time::sleep(120 * SECOND).await;
    let less = house.used().await;
    assert!(less < content, "the answers are in the output file: {less} of {content}");
    assert_eq!(house.read(&batch["output_file_id"]).await.len(), 50);
    tokio::time::sleep(1100 * SECOND).await;
    let path = format!("/v1/batches/{id}");
    assert_eq!(house.call("a", "GET", &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(house.read(&batch["output_file_id"]).await.len(), 50, "it has no end of its own");
    let input = format!("/v1/files/{}", batch["input_file_id"].as_str().unwrap());
    assert_eq!(house.call("a", "GET", &input, None).await.0, StatusCode::NOT_FOUND);
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_waited_for_and_costs_nothing() {
    let house = House::new(Replicas::echo(SECOND), settings());
    let runner = house.runner();
    let id = house.order(&lines(12)).await;
    tokio::time::sleep(SECOND * 3 / 2).await;
    house.store.refuse(Some(StoreError::NoSpace));
    let form = crate::support::Form::default().field("purpose", "batch").file("f", "{}");
    let (status, refused) = house.upload_as("a", form).await;
    assert_eq!((status.as_u16(), &refused["error"]["code"]), (503, &json!("disk_full")));
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(house.replicas.count(), 8, "nothing is sent whose answer cannot be kept");
    assert_eq!(house.batch(&id).await["request_counts"]["completed"], 4);
    house.store.refuse(None);
    let batch = house.until(&id, "completed").await;
    assert_eq!(house.read(&batch["output_file_id"]).await.len(), 12);
    assert_eq!(house.replicas.count(), 12, "answers were held, not asked for again");
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_ends_though_its_answers_cannot_be_kept() {
    let house = House::new(Replicas::echo(SECOND), settings());
    let runner = house.runner();
    let id = house.order(&lines(12)).await;
    tokio::time::sleep(SECOND * 3 / 2).await;
    house.store.refuse(Some(StoreError::NoSpace));
    house.call("a", "POST", &format!("/v1/batches/{id}/cancel"), None).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(house.batch(&id).await["status"], "cancelling", "its files cannot be written");
    house.store.refuse(None);
    let batch = house.until(&id, "cancelled").await;
    let counts = &batch["request_counts"];
    assert_eq!(counts["completed"].as_u64().unwrap() + counts["failed"].as_u64().unwrap(), 12);
    runner.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_the_lease_keeps_nothing() {
    let house = House::new(Replicas::echo(4 * SECOND), settings());
    let runner = Runner::spawn(house.parts.clone(), "one".into(), house.busy.subscribe());
    let id = house.order(&lines(12)).await;
    tokio::time::sleep(SECOND).await;
    assert!(runner.stats().leads);
    // As if it had stood still for longer than its lease, and another had come meanwhile.
    let fence = Fence { holder: "one".into(), epoch: 1 };
    house.store.release(&fence).await.unwrap();
    let other = house.store.acquire("two", 15_000, START).await.unwrap().unwrap();
    tokio::time::sleep(10 * SECOND).await;
    assert!(!runner.stats().leads);
    assert_eq!((house.replicas.count(), house.replicas.under_way()), (4, 0));
    assert_eq!(house.batch(&id).await["request_counts"]["completed"], 0);
    house.store.release(&other).await.unwrap();
    let batch = house.until(&id, "completed").await;
    assert_eq!(house.read(&batch["output_file_id"]).await.len(), 12);
    runner.stop(SECOND).await;
}
