//! Replicas that answer wrongly, and what a playbook does about them.

use crate::support::{Up, Wire, service, until, until_within};
use evenkeel_testkit::{Behaviour, Ended, Oracle, Replica, answer};
use serde_json::Value;
use std::time::Duration;

const WHOLE: Duration = Duration::from_secs(40);
const QUICK: &str = "[recovery]\nprobation = \"300ms\"\npatience = \"1s\"\nremote_patience = \"1s\"\nbackoff = \"100ms\"\n";
const STORY: &str = "a long story";
const TOKENS: u32 = 120;

/// A question with a known answer, asked every 300 ms.
fn golden() -> String {
    let right = answer::text("truth", 8);
    format!(
        "probe = {{ kind = \"tcp\" }}\nejection = {{ time = \"1s\" }}\n[[service.golden]]\npath = \"/v1/chat/completions\"\nprompt = \
         \"truth\"\nexpect = {right:?}\ninterval = \"300ms\"\n"
    )
}

/// Two replicas behind a playbook that is meant for liars.
async fn stage(usual: Behaviour, steps: &[&str]) -> ([Replica; 2], Up) {
    let replicas = [Replica::start(usual.clone()).await, Replica::start(usual).await];
    let urls = replicas.each_ref().map(Replica::url);
    let steps: String =
        steps.iter().map(|step| format!("[[playbook.step]]\nwhen = \"lying\"\n{step}\n")).collect();
    let book = format!("[[playbook]]\nservice = \"chat\"\n{steps}");
    let up = Up::start(&(service(&golden(), &urls) + QUICK + &book)).await.ready().await;
    (replicas, up)
}

const RELOAD: &str = "action = \"reload\"\npath = \"/reload\"\nbody = '{\"model\":\"anew\"}'";

fn reloads(replica: &Replica) -> Vec<(String, String)> {
    let all = replica.requests().into_iter().filter(|request| request.path == "/reload");
    let key = |request: &evenkeel_testkit::replica::Request| {
        let key = request.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        key.unwrap_or_default().to_owned()
    };
    all.map(|r| (key(&r), String::from_utf8_lossy(&r.body).into_owned())).collect()
}

async fn resolved(up: &Up, replica: &str) -> Value {
    until_within(WHOLE, "its incident is over", || async {
        let all = Wire::get(&up.admin, "/api/v1/incidents").await.ok()?.json();
        let mut of = all.as_array()?.iter().filter(|one| one["replica"] == replica);
        of.find(|one| one["phase"] == "resolved").cloned()
    })
    .await
}

#[tokio::test]
async fn a_liar_loads_its_model_again_and_tells_the_truth() {
    let (replicas, up) = stage(Behaviour::Good, &[RELOAD]).await;
    replicas[1].behave(Behaviour::Lie);
    until_within(WHOLE, "it is told to load again", || async {
        (!reloads(&replicas[1]).is_empty()).then_some(())
    })
    .await;
    let asked = Oracle::new(&up.url()).ask(STORY, 4, false).await;
    assert!(asked.is_ok(), "the liar is out meanwhile: {asked:?}");
    replicas[1].behave(Behaviour::Good);
    let over = resolved(&up, "chat-1").await;
    assert_eq!(over["cause"], "lying", "{over}");
    let said = reloads(&replicas[1]);
    assert_eq!(said.len(), 1, "{said:?}");
    let id = over["id"].as_str().expect("it has a number");
    assert!(said[0].0.starts_with(id), "the key names its incident: {said:?}");
    assert_eq!(said[0].1, "{\"model\":\"anew\"}");
    assert!(reloads(&replicas[0]).is_empty());
}

#[tokio::test]
async fn a_liar_is_not_touched_before_its_streams_are_elsewhere_or_over() {
    let gap = Duration::from_millis(25);
    let paced = Behaviour::Paced { first: gap, gap };
    let (replicas, up) = stage(paced.clone(), &["action = \"move_streams\"", RELOAD]).await;
    let oracle = Oracle::new(&up.url());
    let story = tokio::spawn(async move { oracle.ask(STORY, TOKENS, true).await });
    let told = |replica: &Replica| {
        let all = replica.requests().into_iter();
        let mut of = all.filter(|r| String::from_utf8_lossy(&r.body).contains(STORY));
        of.next()
    };
    let at = until("it is under way", || async {
        replicas.iter().position(|replica| told(replica).is_some())
    })
    .await;
    replicas[at].behave(Behaviour::Lie);
    until_within(WHOLE, "it is told to load again", || async {
        (!reloads(&replicas[at]).is_empty()).then_some(())
    })
    .await;
    // Whichever of the two is the first at its end: nothing is under way there any more.
    let ended = told(&replicas[at]).and_then(|request| request.ended).map(|(_, how)| how);
    assert!(matches!(ended, Some(Ended::Cancelled | Ended::Finished)), "{ended:?}");
    assert!(told(&replicas[1 - at]).is_some(), "the other one was asked to go on");
    let story = story.await.expect("it was asked");
    assert!(story.is_ok(), "whole and right: {story:?}");
    replicas[at].behave(paced);
    let over = resolved(&up, &format!("chat-{at}")).await;
    assert_eq!(over["cause"], "lying", "{over}");
}
