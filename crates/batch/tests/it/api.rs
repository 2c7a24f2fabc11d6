//! What clients see.

use crate::support::{Form, House, Replicas, START, line, lines, settings};
use axum::body::Body;
use evenkeel_domain::durable::{FileQuery, FileStore, Owner};
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;

fn form(purpose: &str, content: &str) -> Form {
    Form::default().field("purpose", purpose).file("lines.jsonl", content)
}

/// Status, code and parameter of an error, which has OpenAI's shape.
fn error((status, body): (StatusCode, Value)) -> (u16, String, String) {
    let error = &body["error"];
    let mut shape: Vec<&String> = error.as_object().unwrap().keys().collect();
    shape.sort();
    assert_eq!(shape, ["code", "message", "param", "type"], "{body}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    (status.as_u16(), text("code"), text("param"))
}

fn is(status: u16, code: &str, param: &str) -> (u16, String, String) {
    (status, code.into(), param.into())
}

#[tokio::test(start_paused = true)]
async fn a_file_is_uploaded_looked_at_and_deleted() {
    let house = House::quiet();
    let (status, file) = house.upload_as("a", form("batch", "{}\n")).await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({
        "id": file["id"], "object": "file", "bytes": 3, "created_at": START / 1000,
        "expires_at": START / 1000 + 30 * 86400, "filename": "lines.jsonl", "purpose": "batch",
        "status": "processed", "status_details": null,
    });
    assert_eq!(file, expected);
    let path = format!("/v1/files/{}", file["id"].as_str().unwrap());
    assert_eq!(house.get(&path).await, expected);
    assert_eq!(house.read(&file["id"]).await, [json!({})]);
    let stranger =
        async |method: &str, path: String| error(house.call("b", method, &path, None).await);
    let content = format!("{path}/content");
    assert_eq!(stranger("GET", path.clone()).await, is(404, "not_found", "id"));
    assert_eq!(stranger("GET", content.clone()).await, is(404, "not_found", "id"));
    assert_eq!(stranger("DELETE", path.clone()).await, is(404, "not_found", "id"));
    let (_, deleted) = house.call("a", "DELETE", &path, None).await;
    assert_eq!(deleted, json!({ "id": file["id"], "object": "file", "deleted": true }));
    for gone in [path, content] {
        assert_eq!(error(house.call("a", "GET", &gone, None).await), is(404, "not_found", "id"));
    }
}

#[tokio::test(start_paused = true)]
async fn fields_may_come_in_any_order_and_say_how_long() {
    let house = House::quiet();
    let form = Form::default()
        .file("x.jsonl", "{}")
        .field("expires_after[seconds]", "3600")
        .field("purpose", "user_data")
        .field("expires_after[anchor]", "created_at");
    let (status, file) = house.upload_as("a", form).await;
    assert_eq!(status, StatusCode::OK, "{file}");
    assert_eq!(
        (&file["purpose"], &file["expires_at"]),
        (&json!("user_data"), &json!(START / 1000 + 3600))
    );
    tokio::time::sleep(Duration::from_secs(3601)).await;
    let path = format!("/v1/files/{}", file["id"].as_str().unwrap());
    assert_eq!(error(house.call("a", "GET", &path, None).await), is(404, "not_found", "id"));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_makes_no_sense_leaves_nothing() {
    let house = House::quiet();
    let large = "x".repeat(100_001);
    let long = "x".repeat(2000);
    for (form, expected) in [
        (Form::default().file("f", "{}"), is(400, "missing_required_parameter", "purpose")),
        (Form::default().field("purpose", "batch"), is(400, "missing_required_parameter", "file")),
        (form("nonsense", "{}"), is(400, "invalid_value", "purpose")),
        (form("batch", "{}").field("colour", "red"), is(400, "unknown_parameter", "colour")),
        (form("batch", "{}").file("g", "{}"), is(400, "invalid_value", "file")),
        (form(&long, "{}"), is(400, "invalid_value", "purpose")),
        (form("batch", &large), is(413, "file_too_large", "file")),
    ] {
        assert_eq!(error(house.upload_as("a", form).await), expected);
    }
    let not_a_form = house.call("a", "POST", "/v1/files", Some(json!({}))).await;
    assert_eq!(error(not_a_form), is(400, "invalid_form", ""));
    assert_eq!(house.used().await, 0);
    let (status, _) = house.upload_as("a", form("batch", &large[1..])).await;
    assert_eq!(status, StatusCode::OK, "exactly so much fits");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_off_or_stands_still_leaves_nothing() {
    let house = House::quiet();
    let whole = form("batch", "{}\n").end();
    let send = async |body: Body| {
        let request = Request::post("/v1/files")
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=XyZ")
            .header("x-evenkeel-key-id", "a");
        let (status, body) = house.send(request.body(body).unwrap()).await;
        error((status, serde_json::from_slice(&body).unwrap()))
    };
    let cut = whole[..whole.len() - 8].to_owned();
    assert_eq!(send(cut.clone().into()).await, is(400, "invalid_form", ""));
    let parts = stream::iter([cut]).map(Ok::<_, Infallible>).chain(stream::pending());
    assert_eq!(send(Body::from_stream(parts)).await, is(408, "timeout", ""));
    assert_eq!(house.used().await, 0);
    let all = FileQuery { limit: 9, ..FileQuery::default() };
    let files = house.store.files(&Owner::new("a").unwrap(), &all, START).await.unwrap();
    assert!(files.data.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_full_says_so() {
    let house = House::new(Replicas::echo(Duration::ZERO), settings());
    let large = "x".repeat(100_000);
    for _ in 0..10 {
        assert_eq!(house.upload_as("a", form("batch", &large)).await.0, StatusCode::OK);
    }
    let full = error(house.upload_as("a", form("batch", "{}")).await);
    assert_eq!(full, is(413, "storage_limit_exceeded", ""));
    let mut few = settings();
    (few.max_files, few.max_open_batches) = (1, 1);
    let house = House::new(Replicas::echo(Duration::ZERO), few);
    let order = json!({
        "input_file_id": house.lines("{}").await,
        "endpoint": "/v1/echo", "completion_window": "24h",
    });
    let full = error(house.upload_as("a", form("batch", "{}")).await);
    assert_eq!(full, is(413, "file_limit_exceeded", ""));
    let create = || house.call("a", "POST", "/v1/batches", Some(order.clone()));
    assert_eq!(create().await.0, StatusCode::OK);
    assert_eq!(error(create().await), is(429, "rate_limit_exceeded", ""));
}

#[tokio::test(start_paused = true)]
async fn lists_go_page_by_page() {
    let house = House::quiet();
    let mut files = Vec::new();
    for n in 0..3 {
        let purpose = if n == 1 { "vision" } else { "batch" };
        files.push(house.upload_as("a", form(purpose, "{}")).await.1["id"].clone());
    }
    let list = async |query: &str| {
        let list = house.get(&format!("/v1/files{query}")).await;
        let ids: Vec<Value> =
            list["data"].as_array().unwrap().iter().map(|file| file["id"].clone()).collect();
        assert_eq!(list["object"], "list");
        assert_eq!(list["first_id"], ids.first().cloned().unwrap_or_default());
        assert_eq!(list["last_id"], ids.last().cloned().unwrap_or_default());
        (ids, list["has_more"].as_bool().unwrap())
    };
    let of = |all: &[usize]| all.iter().map(|n| files[*n].clone()).collect::<Vec<_>>();
    assert_eq!(list("").await, (of(&[2, 1, 0]), false));
    assert_eq!(list("?limit=2").await, (of(&[2, 1]), true));
    let after = format!("?limit=2&after={}", files[1].as_str().unwrap());
    assert_eq!(list(&after).await, (of(&[0]), false));
    assert_eq!(list("?order=asc&purpose=batch").await, (of(&[0, 2]), false));
    assert_eq!(house.call("b", "GET", "/v1/files", None).await.1["data"], json!([]));
    for (query, param) in
        [("?limit=0", "limit"), ("?order=up", "order"), ("?after=file-none", "after")]
    {
        let wrong = house.call("a", "GET", &format!("/v1/files{query}"), None).await;
        assert_eq!(error(wrong), is(400, "invalid_value", param));
    }
    let first = house.order(&lines(1)).await;
    let second = house.order(&lines(1)).await;
    let page = house.get("/v1/batches?limit=1").await;
    assert_eq!((&page["data"][0]["id"], &page["has_more"]), (&json!(second), &json!(true)));
    let page = house.get(&format!("/v1/batches?after={second}")).await;
    assert_eq!((&page["data"][0]["id"], &page["has_more"]), (&json!(first), &json!(false)));
    let wrong = house.call("a", "GET", "/v1/batches?limit=101", None).await;
    assert_eq!(error(wrong), is(400, "invalid_value", "limit"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_ordered_and_shown_as_openai_does() {
    let house = House::quiet();
    let input = house.lines(&lines(1)).await;
    let mut order = json!({
        "input_file_id": input, "endpoint": "/v1/echo", "completion_window": "24h",
        "metadata": { "k": "v" },
        "output_expires_after": { "anchor": "created_at", "seconds": 3600 },
    });
    let create =
        async |order: &Value| house.call("a", "POST", "/v1/batches", Some(order.clone())).await;
    let (status, batch) = create(&order).await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({
        "id": batch["id"], "object": "batch", "endpoint": "/v1/echo", "model": null,
        "errors": null, "input_file_id": input, "completion_window": "24h",
        "status": "validating", "output_file_id": null, "error_file_id": null,
        "created_at": START / 1000, "in_progress_at": null, "expires_at": START / 1000 + 600,
        "finalizing_at": null, "completed_at": null, "failed_at": null, "expired_at": null,
        "cancelling_at": null, "cancelled_at": null,
        "request_counts": { "total": 0, "completed": 0, "failed": 0 },
        "usage": null, "metadata": { "k": "v" },
    });
    assert_eq!(batch, expected);
    order["endpoint"] = json!("/v1/nowhere");
    assert_eq!(error(create(&order).await), is(400, "invalid_value", "endpoint"));
    order["endpoint"] = json!("/v1/echo");
    order["input_file_id"] = json!("file-none");
    assert_eq!(error(create(&order).await), is(400, "invalid_value", "input_file_id"));
    let (_, picture) = house.upload_as("a", form("vision", "{}")).await;
    order["input_file_id"] = picture["id"].clone();
    assert_eq!(error(create(&order).await), is(400, "invalid_value", "input_file_id"));
    order["metadata"] = json!("x".repeat(300_000));
    assert_eq!(error(create(&order).await), is(413, "request_too_large", ""));
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    let cancel = format!("{path}/cancel");
    for (method, path) in [("GET", &path), ("POST", &cancel)] {
        let stranger = house.call("b", method, path, None).await;
        assert_eq!(error(stranger), is(404, "not_found", "id"));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_nobody_and_nothing_is_nothing() {
    let house = House::quiet();
    let request = |method: &str, path: &str| Request::builder().method(method).uri(path);
    let (status, body) = house.send(request("GET", "/v1/files").body(Body::empty()).unwrap()).await;
    let told = error((status, serde_json::from_slice(&body).unwrap()));
    assert_eq!(told, is(401, "invalid_api_key", ""));
    let spoofed = request("GET", "/v1/files")
        .header("x-evenkeel-key-id", "b")
        .extension(Owner::new("a").unwrap());
    house.lines(&line("1")).await;
    let (_, body) = house.send(spoofed.body(Body::empty()).unwrap()).await;
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "the extension comes first");
    let wrong = house.call("a", "PUT", "/v1/files", None).await;
    assert_eq!(error(wrong), is(405, "method_not_allowed", ""));
    assert_eq!(
        error(house.call("a", "GET", "/v1/nothing", None).await),
        is(404, "unknown_url", "")
    );
}
