//! Who is served, and who is not.

use super::{bearer, entry, shown, start, text, usage, write_keys};
use crate::support::{Answer, Wire, ask, chat, get, post, raw, service, until};
use evenkeel_testkit::Replica;
use evenkeel_testkit::replica::Behaviour;
use std::time::Duration;

async fn send(address: &str, path: &str, headers: &str) -> Answer {
    let body = chat("hello", 4, false);
    raw(address, post(path, headers, &body)).await.expect("an answer")
}

#[tokio::test]
async fn without_a_good_key_each_api_says_so_in_its_own_way() {
    let replica = Replica::start(Behaviour::Good).await;
    let keys = [
        entry("good", ""),
        entry("old", "expires = 2020-01-01T00:00:00Z"),
        entry("gone", "revoked = true"),
    ];
    let kserve = format!(
        "[[service]]\nname = \"v2\"\nprotocol = \"kserve\"\nmodels = [\"m\"]\nprobe = {{ kind = \
         \"tcp\" }}\n[[service.replica]]\nurl = \"{}\"\n",
        replica.url()
    );
    let up = start(&keys.concat(), &(service("", &[replica.url()]) + &kserve)).await;
    let to = &up.clients;
    for (headers, said) in [
        (String::new(), "No API key was given"),
        (bearer("nobody"), "not known"),
        (bearer("good").replace("01234", "0123"), "not known"),
        (bearer("old"), "expired"),
        (bearer("gone"), "revoked"),
    ] {
        let got = ask(to, &headers, &chat("hello", 4, false)).await;
        assert_eq!((got.status, got.code()), (401, "invalid_api_key".into()), "{headers}");
        assert_eq!(got.json()["error"]["type"], "invalid_request_error");
        assert_eq!(got.header("www-authenticate"), Some("Bearer"));
        assert!(got.text().contains(said), "{said}: {}", got.text());
    }
    let got = send(to, "/v1/messages", "x-api-key: wrong\r\n").await;
    assert_eq!((got.status, &got.json()["error"]["type"]), (401, &"authentication_error".into()));
    let got = send(to, "/v2/models/m/infer", "").await;
    assert!(got.status == 401 && got.json()["error"].is_string(), "{}", got.text());
    let grpc = "POST /a.B/C HTTP/1.1\r\nhost: t\r\ncontent-type: application/grpc\r\n\
                content-length: 0\r\n\r\n";
    let got = raw(to, grpc).await.expect("an answer");
    assert_eq!((got.status, got.header("grpc-status")), (200, Some("16")));
    // Nor is anybody told what there is.
    for path in ["/v1/models", "/nowhere"] {
        assert_eq!(get(to, path).await.status, 401, "{path}");
    }
    assert!(replica.requests().is_empty(), "no replica saw any of it");
}

#[tokio::test]
async fn a_good_key_is_taken_wherever_clients_put_it_and_ends_here() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = start(&entry("a", ""), &service("", &[replica.url()])).await;
    let key = text("a");
    for headers in [
        bearer("a"),
        format!("x-api-key: {key}\r\n"),
        format!("api-key: {key}\r\nx-evenkeel-tier: best_effort\r\nx-evenkeel-key-id: b\r\n"),
    ] {
        assert_eq!(ask(&up.clients, &headers, &chat("hello", 4, false)).await.status, 200);
    }
    for request in replica.requests() {
        let seen = format!("{:?}", request.headers);
        assert!(!seen.contains(&key) && !seen.contains("x-evenkeel"), "{seen}");
    }
    let log = std::fs::read_dir(up.dir.path()).expect("the directory is there");
    for file in log.filter_map(Result::ok).filter(|f| f.path().is_file()) {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        assert!(!text.contains(&key), "{:?}", file.path());
    }
    let got = ask(&up.clients, &(bearer("a") + "x-evenkeel-tier: gold\r\n"), "{}").await;
    assert_eq!((got.status, got.code()), (400, "bad_request".into()));
}

#[tokio::test]
async fn a_key_opens_the_services_it_names() {
    let replica = Replica::start(Behaviour::Good).await;
    let services = crate::support::two_services("", &replica);
    let up = start(&(entry("a", "services = [\"chat\"]") + &entry("b", "")), &services).await;
    let other = chat("hello", 4, false).replace("\"test\"", "\"other\"");
    let got = ask(&up.clients, &bearer("a"), &other).await;
    assert_eq!((got.status, got.code()), (403, "service_not_allowed".into()));
    assert_eq!(ask(&up.clients, &bearer("a"), &chat("hello", 4, false)).await.status, 200);
    assert_eq!(ask(&up.clients, &bearer("b"), &other).await.status, 200);
    for (id, models) in [("a", 1), ("b", 2)] {
        let list = format!("GET /v1/models HTTP/1.1\r\nhost: t\r\n{}\r\n", bearer(id));
        let list = raw(&up.clients, list).await.expect("an answer").json();
        assert_eq!(list["data"].as_array().map(Vec::len), Some(models), "{list}");
    }
    let got = raw(&up.clients, post("/v1/messages", &bearer("a"), &other)).await;
    let got = got.expect("an answer");
    assert_eq!((got.status, &got.json()["error"]["type"]), (403, &"permission_error".into()));
}

#[tokio::test]
async fn pages_of_browsers_may_ask_whether_they_may_ask() {
    let replica = Replica::start(Behaviour::Good).await;
    let gateway = "cors = { origins = [\"*\"] }";
    let services = service("", &[replica.url()]) + &entry("a", "");
    let up = crate::support::Up::with(gateway, &services).await.ready().await;
    let preflight = "OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: t\r\norigin: http://x\r\n\
                     access-control-request-method: POST\r\n\r\n";
    assert_eq!(raw(&up.clients, preflight).await.expect("an answer").status, 204);
    assert_eq!(ask(&up.clients, "", "{}").await.status, 401, "keys in the configuration count");
}

#[tokio::test]
async fn a_revoked_key_ends_and_all_else_goes_on() {
    let gap = Duration::from_millis(100);
    let replica = Replica::start(Behaviour::Paced { first: gap, gap }).await;
    let up = start(&(entry("a", "") + &entry("b", "")), &service("", &[replica.url()])).await;
    let generation = up.snapshot().await["gateway"]["config_generation"].clone();
    let mut wire = Wire::open(&up.clients).await;
    wire.send(post("/v1/chat/completions", &bearer("a"), &chat("hello", 30, true))).await;
    wire.read_until(b"data: ").await.expect("the stream begins");
    let before = shown(&up, "a").await["usage"]["requests"].clone();
    let pid = up.gateway_pid().await;
    let config = up.file().display().to_string();
    let ran = crate::support::evenkeel(&["key", "revoke", "a", "-c", &config]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    until("the key is refused", || async {
        let got = ask(&up.clients, &bearer("a"), &chat("x", 1, false)).await;
        (got.status == 401 && got.text().contains("revoked")).then_some(())
    })
    .await;
    // What it had begun goes on, and so does everybody else.
    wire.read_until(b"[DONE]").await.expect("the stream ends in order");
    assert_eq!(ask(&up.clients, &bearer("b"), &chat("x", 1, false)).await.status, 200);
    let used = usage(&up, "a", |usage| usage["streams"] == 0).await;
    assert!(used["requests"].as_u64() >= before.as_u64(), "{used}: what was counted stays");
    assert_eq!(
        used["completion_tokens"].as_u64(),
        used["completion_tokens"].as_u64().max(Some(30))
    );
    assert_eq!(
        (up.gateway_pid().await, shown(&up, "a").await["state"].clone()),
        (pid, "revoked".into())
    );
    assert_ne!(up.snapshot().await["gateway"]["config_generation"], generation);
}

#[tokio::test]
async fn a_bad_key_file_changes_nothing_and_says_why() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = start(&entry("a", ""), &service("", &[replica.url()])).await;
    for (bad, why) in [
        (entry("a", "hsah = 3"), "keys.toml:4:1: hsah"),
        (entry("a", "") + &entry("a", "").replace("0", "1"), "key[1].id: the name `a` is taken"),
        (entry("b", "services = [\"x\"]"), "key[0].services: there is no service `x`"),
        (entry("b", "tenant = \"t\""), "key[0].tenant: there is no tenant `t`"),
        (entry("b", "limits = { streams = 0 }"), "key[0].limits.streams: at least 1"),
        (entry("b", "expires = \"soon\""), "key[0].expires: `soon` is no date"),
        (entry("b", "").replace("sha256:", ""), "key[0].hash: a hash is `sha256:`"),
    ] {
        write_keys(up.dir.path(), &bad);
        until(&format!("it says {why:?}"), || async {
            let error = up.snapshot().await["gateway"]["reload_error"].to_string();
            (error.contains(why) && error.contains("keys.toml:")).then_some(())
        })
        .await;
        assert_eq!(ask(&up.clients, &bearer("a"), &chat("x", 1, false)).await.status, 200);
    }
    write_keys(up.dir.path(), &entry("b", ""));
    until("a good file is taken over", || async {
        (ask(&up.clients, &bearer("b"), &chat("x", 1, false)).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(ask(&up.clients, &bearer("a"), &chat("x", 1, false)).await.status, 401);
}
