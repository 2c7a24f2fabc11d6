//! Replicas behind a name.

use crate::support::{SOON, Up, ask, chat, service, until};
use evenkeel_testkit::{Behaviour, Replica};

/// A service of this name for one model, whose replicas are behind a URL's host.
fn behind(name: &str, model: &str, url: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nmodels = [\"{model}\"]\nhold = {{ time = \"300ms\" \
         }}\n[[service.replica]]\ndns = \"{url}\"\n"
    )
}

#[tokio::test]
async fn each_address_of_a_name_is_a_replica() {
    let replica = Replica::start(Behaviour::Good).await;
    let port = replica.addr().port();
    let up = Up::start(&behind("chat", "*", &format!("http://localhost:{port}"))).await;
    // The name may have an IPv6 address, too, where nobody listens.
    let found = up.replica(&format!("chat-127.0.0.1:{port}"), |r| r["gate"] == "open").await;
    assert_eq!(found["process"], serde_json::Value::Null, "{found}");
    for _ in 0..4 {
        assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    }
    let all = replica.requests();
    let host = |r: &evenkeel_testkit::Request| r.headers.get("host").cloned();
    assert!(all.len() >= 4, "{all:?}");
    let expected = format!("localhost:{port}");
    assert!(all.iter().all(|r| host(r).is_some_and(|host| host == expected)), "{all:?}");
}

#[tokio::test]
async fn a_name_that_nobody_knows_holds_up_neither_the_start_nor_others() {
    let replica = Replica::start(Behaviour::Good).await;
    // Reserved for names that never exist (RFC 6761).
    let nowhere = "http://replicas.invalid:8000";
    let services = behind("lost", "lost", nowhere)
        + &service("", &[replica.url()])
        + &format!("[[service.replica]]\ndns = \"{nowhere}\"\n");
    let mut up = Up::start(&services).await;
    up.replica("chat-0", |r| r["gate"] == "open").await;
    assert_eq!(up.replicas().await.len(), 1, "nobody is found behind the name");
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    let lost = chat("hello", 4, false).replace("\"test\"", "\"lost\"");
    let refused = ask(&up.clients, "", &lost).await;
    assert_eq!((refused.status, refused.code()), (503, "no_replica_available".into()));
    let said = up.process.wait_for_line("replicas cannot be looked up", SOON).await;
    assert!(said.expect("it is told").contains("replicas.invalid"));
    let ran = up.cli(&["status"]).await;
    assert_eq!(ran.code, 1, "a core service has nobody: {ran:?}");
    // It ends as soon as ever, whatever a resolver is still busy with.
    up.process.terminate();
    let ended = up.process.wait(SOON).await.expect("it ends");
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_name_replaces_an_address_under_way() {
    let replicas = [Replica::start(Behaviour::Good).await, Replica::start(Behaviour::Good).await];
    let up = Up::start(&service("", &[replicas[0].url()])).await.ready().await;
    let port = replicas[1].addr().port();
    up.rewrite(&behind("chat", "*", &format!("http://localhost:{port}")));
    assert_eq!(up.cli(&["reload"]).await.code, 0);
    up.replica(&format!("chat-127.0.0.1:{port}"), |r| r["gate"] == "open").await;
    until("the address is gone", || async {
        let all = up.replicas().await;
        all.iter().all(|r| r["name"] != "chat-0").then_some(())
    })
    .await;
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    assert!(!replicas[1].requests().is_empty());
}
