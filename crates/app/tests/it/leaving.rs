//! Replicas that the configuration has no more: nothing new to them, and an end in peace.

use crate::support::{EVENKEEL, Model, Stream, Up, alive, ask, chat, service, until, until_so};
use evenkeel_domain::clock::now;
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{Behaviour, Ended, Oracle, Replica, ports};
use rustix::process::Signal;
use std::time::Duration;

/// Tokens of a stream: at 20 ms each it takes three seconds.
const TOKENS: u32 = 150;
/// Pieces of a stream that take longer than a replica is given to end once it is asked to.
const LONGER_THAN_GRACE: usize = 40;

/// One entry: the built-in model at a slow pace, killed 100 ms after it is asked to end.
fn entry(more: &str) -> String {
    format!(
        "[[service.replica]]\ncommand = [\"{EVENKEEL}\", \"model\", \"--model\", \"test\", \
         \"--pace\", \"20\", \"--listen\", \"127.0.0.1:{{port}}\"]\nstop_grace = \
         \"100ms\"\n{more}\n"
    )
}

/// Streams end where they are: how they are moved is another matter.
const STAY: &str = "resume = { move_on_drain = false }";

/// A service of these entries.
fn chat_of(entries: &[String]) -> String {
    service(STAY, &[]) + &entries.concat()
}

fn copies(count: u32) -> String {
    chat_of(&[entry(&format!("copies = {count}"))])
}

async fn begin(up: &Up) -> Stream {
    Stream::begin(up, &chat("a long story", TOKENS, true)).await
}

/// A stream on each of two replicas.
async fn one_each(up: &Up) -> [Stream; 2] {
    let streams = [begin(up).await, begin(up).await];
    for replica in up.replicas().await {
        assert_eq!(replica["in_flight"], 1, "each has one: {replica}");
    }
    streams
}

/// Both streams end, whole and right: as another server of the same model has it.
async fn both_end(streams: [Stream; 2]) {
    let model = Model::start(&[]).await;
    let right = ask(&model.address, "", &chat("a long story", TOKENS, false)).await.json();
    let right = right["choices"][0]["message"]["content"].clone();
    for stream in streams {
        assert_eq!(stream.end().await, right);
    }
}

/// Both are under way for longer than a replica that is stopped lives.
async fn both_go_on(streams: &mut [Stream; 2]) {
    for stream in streams {
        assert!(stream.more(LONGER_THAN_GRACE).await, "it should have been under way");
    }
}

fn reload(up: &Up, services: &str) {
    up.rewrite(services);
    signal(up.process.id(), Signal::HUP);
}

/// How many attempts on it ended well.
async fn served_by(up: &Up, name: &str) -> u64 {
    let replica = up.replica(name, |_| true).await;
    replica["outcomes"]["ok"].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn a_replica_that_is_removed_ends_its_streams_first() {
    let up = Up::start(&copies(2)).await.ready().await;
    let pids = up.pids().await;
    let mut streams = one_each(&up).await;
    let before = served_by(&up, "chat-0").await;
    reload(&up, &copies(1));
    let leaving = up.replica("chat-1", |r| r["health"] == "draining").await;
    assert_eq!(leaving["gate"], "shut", "{leaving}");
    for _ in 0..6 {
        assert_eq!(ask(&up.clients, "", &chat("hello", 1, false)).await.status, 200);
    }
    assert_eq!(served_by(&up, "chat-0").await, before + 6, "the one that is left serves");
    both_go_on(&mut streams).await;
    assert!(alive(pids[1]), "it was stopped under its stream");
    both_end(streams).await;
    until_so("its process ends then", || !alive(pids[1])).await;
    until("nothing tells of it any more", || async {
        (up.replicas().await.len() == 1).then_some(())
    })
    .await;
    assert!(alive(pids[0]));
}

#[tokio::test]
async fn it_does_so_too_when_a_new_gateway_takes_over() {
    let up = Up::start(&copies(2)).await.ready().await;
    let (pids, gateway) = (up.pids().await, up.gateway_pid().await);
    let mut streams = one_each(&up).await;
    reload(&up, &format!("[gateway.limits]\nheaders = 50\n{}", copies(1)));
    until("a new gateway answers", || async { (up.gateway_pid().await != gateway).then_some(()) })
        .await;
    both_go_on(&mut streams).await;
    assert!(alive(pids[1]) && alive(gateway), "it was stopped under its stream");
    both_end(streams).await;
    until_so("its process ends then", || !alive(pids[1])).await;
    assert!(alive(pids[0]));
}

#[tokio::test]
async fn its_time_is_limited() {
    let up = Up::with("drain = \"300ms\"", &copies(2)).await.ready().await;
    let pids = up.pids().await;
    let _streams = one_each(&up).await;
    let began = now();
    reload(&up, &copies(1));
    until_so("it is stopped with its stream", || !alive(pids[1])).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "the stream takes three seconds, this took {took:?}");
}

#[tokio::test]
async fn a_replica_that_comes_back_meanwhile_stays() {
    let up = Up::start(&copies(2)).await.ready().await;
    let pids = up.pids().await;
    let streams = one_each(&up).await;
    reload(&up, &copies(1));
    up.replica("chat-1", |r| r["health"] == "draining").await;
    reload(&up, &copies(2));
    up.replica("chat-1", |r| r["gate"] == "open").await;
    both_end(streams).await;
    // Whatever would have been stopped once it is idle has been so by the time a reload
    // that comes after that is in force.
    reload(&up, &copies(3));
    up.replica("chat-2", |r| r["gate"] == "open").await;
    assert_eq!(up.pids().await[..2], pids);
}

#[tokio::test]
async fn another_revision_waits_for_the_streams_of_the_old_one() {
    let up = Up::start(&copies(2)).await.ready().await;
    let mut streams = one_each(&up).await;
    let pids = up.pids().await;
    let settings = "copies = 2\nrevision = \"next\"\nenv = { NEXT = \"1\" }";
    reload(&up, &chat_of(&[entry(settings)]));
    up.replica("chat-0", |r| r["revision"] == "next").await;
    both_go_on(&mut streams).await;
    assert!(pids.iter().all(|pid| alive(*pid)), "one was restarted under its stream");
    both_end(streams).await;
    for name in ["chat-0", "chat-1"] {
        up.replica(name, |r| r["incarnation"] == 2 && r["gate"] == "open").await;
    }
}

#[tokio::test]
async fn a_port_is_passed_on_only_when_it_is_free() {
    let (first, second) = (ports::free_port(), ports::free_port());
    let [one, two] = [first, second].map(|port| entry(&format!("port = {port}")));
    let up = Up::start(&chat_of(&[one, two.clone()])).await.ready().await;
    let mut streams = one_each(&up).await;
    let pids = up.pids().await;
    // What is left is now called chat-0, and the process that holds its port is leaving.
    reload(&up, &chat_of(&[two]));
    up.replica("chat-1", |r| r["health"] == "draining").await;
    both_go_on(&mut streams).await;
    assert!(pids.iter().all(|pid| alive(*pid)), "one was stopped under its stream");
    both_end(streams).await;
    up.replica("chat-0", |r| r["process"]["port"] == second && r["gate"] == "open").await;
    assert!(!pids.iter().any(|pid| alive(*pid)));
    assert_eq!(ask(&up.clients, "", &chat("hello", 1, false)).await.status, 200);
}

#[tokio::test]
async fn its_streams_may_be_moved_instead() {
    let moving = |count| copies(count).replace(STAY, "");
    let up = Up::start(&moving(2)).await.ready().await;
    let pids = up.pids().await;
    let streams = one_each(&up).await;
    reload(&up, &moving(1));
    both_end(streams).await;
    until_so("its process ends", || !alive(pids[1])).await;
}

/// How the requests with this prompt ended on a replica, in order.
fn asked(replica: &Replica, prompt: &str) -> Vec<Option<Ended>> {
    let all = replica.requests();
    let these = all.iter().filter(|r| String::from_utf8_lossy(&r.body).contains(prompt));
    these.map(|request| request.ended.map(|(_, how)| how)).collect()
}

#[tokio::test]
async fn a_server_elsewhere_that_is_removed_goes_on_with_what_it_has() {
    let gap = Duration::from_millis(30);
    let paced = Behaviour::Paced { first: gap, gap };
    let replicas = [Replica::start(paced.clone()).await, Replica::start(paced).await];
    let urls = replicas.each_ref().map(Replica::url);
    let up = Up::start(&service(STAY, &urls)).await.ready().await;
    let ask_slowly = || {
        let oracle = Oracle::new(&up.url());
        tokio::spawn(async move { oracle.ask("a long story", 100, true).await })
    };
    // Which of two idle replicas is asked is chance, and something else may be under way.
    let mut streams = Vec::new();
    while !replicas.iter().all(|r| !asked(r, "a long story").is_empty()) {
        assert!(streams.len() < 10, "one of them is never asked");
        streams.push(ask_slowly());
        until("it is under way", || async {
            let begun: usize = replicas.iter().map(|r| asked(r, "a long story").len()).sum();
            (begun == streams.len()).then_some(())
        })
        .await;
    }
    let begun = replicas.each_ref().map(|r| asked(r, "a long story").len());
    reload(&up, &service(STAY, &urls[..1]));
    until("one is gone", || async { (up.replicas().await.len() == 1).then_some(()) }).await;
    for _ in 0..4 {
        assert_eq!(ask(&up.clients, "", &chat("hello", 1, false)).await.status, 200);
    }
    assert_eq!(asked(&replicas[1], "hello"), [], "nothing new goes there");
    let under_way = asked(&replicas[1], "a long story");
    assert!(under_way.iter().all(Option::is_none), "they should be under way: {under_way:?}");
    for stream in streams {
        let seen = stream.await.expect("the stream was asked for");
        assert!(seen.is_ok(), "{:?}", seen.verdict);
    }
    for (replica, begun) in replicas.iter().zip(begun) {
        let ended = asked(replica, "a long story");
        assert_eq!(ended, vec![Some(Ended::Finished); begun], "none moved");
    }
}
