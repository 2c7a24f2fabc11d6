//! Names, header fields and credentials on their way.

use crate::support::{Up, ask, chat, get, raw, service};
use evenkeel_testkit::{Behaviour, Replica, tempdir};
use serde_json::Value;

const PATH: &str = "/v1/chat/completions";

#[tokio::test]
async fn names_and_credentials_are_the_replicas_own() {
    let replica = Replica::start(Behaviour::Good).await;
    let dir = tempdir();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "of-the-replica\n").expect("a file can be written");
    let up = Up::start(&format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"test\", \"nick\"]\naliases = {{ nick = \
         \"test\" }}\n[[service.replica]]\nurl = \"{}\"\nbearer_file = \"{}\"\nheaders = {{ \
         x-own = \"1\" }}\n",
        replica.url(),
        secret.display()
    ))
    .await
    .ready()
    .await;
    let own = "authorization: Bearer of-the-client\r\nx-api-key: k\r\napi-key: k\r\n\
               x-request-id: mine-1\r\nx-kept: yes\r\nconnection: x-hop\r\nx-hop: 1\r\n";
    let body = chat("hello", 4, false).replace("\"test\"", "\"nick\"");
    let got = ask(&up.clients, own, &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.header("x-request-id"), Some("mine-1"));
    let seen = &replica.requests()[0];
    let body: Value = serde_json::from_slice(&seen.body).expect("the replica gets JSON");
    assert_eq!(body["model"], "test");
    let sent = |name: &str| seen.headers.get(name).and_then(|v| v.to_str().ok());
    assert_eq!(sent("authorization"), Some("Bearer of-the-replica"));
    assert_eq!((sent("x-own"), sent("x-kept")), (Some("1"), Some("yes")));
    assert_eq!(sent("x-request-id"), Some("mine-1"));
    assert_eq!((sent("x-api-key"), sent("api-key"), sent("x-hop")), (None, None, None));
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    let given = got.header("x-request-id").expect("every answer has one");
    assert!(given.len() == 32 && replica.requests()[1].headers["x-request-id"] == given);
    let list = get(&up.clients, "/v1/models").await.json();
    let names: Vec<_> = list["data"].as_array().into_iter().flatten().map(|m| &m["id"]).collect();
    assert!(names.contains(&&Value::from("nick")), "{list}");
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call() {
    let replica = Replica::start(Behaviour::Good).await;
    let cors = "[gateway.cors]\norigins = [\"https://app.example\"]\n";
    let up = Up::with(cors, &service("", &[replica.url()])).await.ready().await;
    let preflight = |origin: &str| {
        format!(
            "OPTIONS {PATH} HTTP/1.1\r\nhost: test\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\naccess-control-request-headers: \
             authorization\r\n\r\n"
        )
    };
    let got = raw(&up.clients, preflight("https://app.example")).await.expect("an answer");
    assert_eq!(got.status, 204);
    assert_eq!(got.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(got.header("access-control-allow-headers"), Some("authorization"));
    let asking = |origin: &'static str| {
        let clients = up.clients.clone();
        async move { ask(&clients, origin, &chat("hello", 4, false)).await }
    };
    let got = asking("origin: https://app.example\r\n").await;
    assert_eq!(got.header("access-control-allow-origin"), Some("https://app.example"));
    let got = asking("origin: https://evil.example\r\n").await;
    assert_eq!(got.header("access-control-allow-origin"), None);
}
