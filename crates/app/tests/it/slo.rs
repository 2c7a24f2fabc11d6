//! What services promised and kept: counted, kept across every kind of death, and told.

use crate::support::{
    SOON, Up, Wire, ask, chat, evenkeel, get, post, raw, service, supervised, until, until_within,
};
use evenkeel_domain::clock::now;
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{Behaviour, Replica, tempdir};
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a crash may take away.
const LOST: Duration = Duration::from_secs(5);
/// How long what takes some writes may take on a slow machine.
const WHILE: Duration = Duration::from_secs(40);
/// A request is refused soon where nobody can take it.
const SOON_REFUSED: &str = "hold = { time = \"200ms\" }";

/// The account of the first service, once there is one.
async fn slo(up: &Up) -> Value {
    until("the account is kept", || async {
        let answer = Wire::get(&up.admin, "/api/v1/slo").await.ok()?;
        let view = answer.json();
        let first = view["services"][0].clone();
        (answer.status == 200 && view["error"].is_null() && first.is_object()).then_some(first)
    })
    .await
}

/// The same once it is so.
async fn slo_so(up: &Up, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    until_within(WHILE, what, || async {
        let one = slo(up).await;
        so(&one).then_some(one)
    })
    .await
}

fn seconds(one: &Value, state: &str) -> f64 {
    one["total"][format!("{state}_seconds")].as_f64().expect("a time")
}

fn all_time(one: &Value) -> f64 {
    ["up", "down", "planned", "unknown"].iter().map(|state| seconds(one, state)).sum()
}

fn total(one: &Value, what: &str) -> u64 {
    one["total"][what].as_u64().expect("a count")
}

async fn good(up: &Up) {
    assert_eq!(ask(&up.clients, "", &chat("hello", 2, false)).await.status, 200);
}

#[tokio::test]
async fn requests_count_as_what_they_are() {
    let replica = Replica::start(Behaviour::Good).await;
    let settings = format!("{SOON_REFUSED}\nslo = {{ latency = \"10s\" }}");
    let up = Up::start(&service(&settings, &[replica.url()])).await.ready().await;
    for _ in 0..10 {
        good(&up).await;
    }
    // Faults of clients say nothing of the service.
    assert_eq!(ask(&up.clients, "", "{ this is no JSON").await.status, 400);
    // Nor does a deadline that nobody could keep.
    replica.behave(Behaviour::Paced { first: SOON, gap: Duration::from_millis(1) });
    let short = ask(&up.clients, "x-request-timeout: 100ms\r\n", &chat("late", 2, false)).await;
    assert_eq!(short.status, 504);
    replica.behave(Behaviour::Good);
    drop(replica);
    // Nobody there: the service's fault, whatever the client's deadline.
    until("the replica is known to be gone", || async {
        (up.replicas().await[0]["gate"] != "open").then_some(())
    })
    .await;
    assert_eq!(ask(&up.clients, "", &chat("hello", 2, false)).await.status, 503);
    let short = ask(&up.clients, "x-request-timeout: 50ms\r\n", &chat("hello", 2, false)).await;
    assert!(short.status >= 500, "{short:?}");
    let one = slo_so(&up, "all is counted", |one| total(one, "bad") == 2).await;
    assert_eq!((total(&one, "good"), total(&one, "in_time")), (10, 10), "{one}");
    assert_eq!(one["requests"]["valid"], 12);
    assert!(one["requests"]["failure_low"].as_f64() < one["requests"]["failure"].as_f64());
    slo_so(&up, "downtime is counted", |one| seconds(one, "down") > 0.5).await;
    let ran = up.cli(&["slo", "chat"]).await;
    for part in ["promises 99.9 % over 30d", "12 valid, 2 failed", "BUDGET LEFT", "BURN OVER"] {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    let ran = up.cli(&["slo", "nobody"]).await;
    assert!(ran.code == 1 && ran.err.contains("no service `nobody`"), "{ran:?}");
    let metrics = get(&up.admin, "/metrics").await.text();
    for line in [
        "evenkeel_slo_requests_total{service=\"chat\",result=\"good\"} 10",
        "evenkeel_slo_requests_total{service=\"chat\",result=\"bad\"} 2",
        "evenkeel_slo_works 1",
        "evenkeel_slo_objective_ratio{service=\"chat\"} 0.999",
        "evenkeel_slo_burn_rate{service=\"chat\",sli=\"time\",window_seconds=\"3600\"}",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let series = metrics.lines().filter(|line| line.starts_with("evenkeel_slo_"));
    let names: Vec<&str> = series.filter_map(|line| line.rsplit_once(' ')).map(|s| s.0).collect();
    let once: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(names.len(), once.len(), "no series twice");
}

/// Asks until told to stop; when each good answer came.
async fn traffic(clients: String, mut stop: tokio::sync::watch::Receiver<bool>) -> Vec<Instant> {
    let mut answered = Vec::new();
    while !*stop.borrow_and_update() {
        let request = post("/v1/chat/completions", "", &chat("hello", 2, false));
        if raw(&clients, request).await.is_ok_and(|answer| answer.status == 200) {
            answered.push(now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answered
}

#[tokio::test]
async fn counts_outlive_a_gateway_that_is_killed_and_the_whole() {
    let replica = Replica::start(Behaviour::Good).await;
    let services = service("", &[replica.url()]);
    let up = Up::start(&services).await.ready().await;
    let mut asked = 0;
    for _ in 0..100 {
        good(&up).await;
        asked += 1;
    }
    let before = slo_so(&up, "all is written", |one| total(one, "good") == asked).await;
    let gateway = up.gateway_pid().await;
    signal(gateway, Signal::KILL);
    until("another gateway", || async {
        let answer = Wire::get(&up.admin, "/api/v1/snapshot").await.ok()?;
        (answer.json()["gateway"]["pid"] != gateway).then_some(())
    })
    .await;
    let after =
        slo_so(&up, "the account goes on", |one| all_time(one) > all_time(&before) + 1.0).await;
    assert_eq!(total(&after, "good"), asked, "neither lost nor twice");
    let (time, up_time) = (all_time(&after), seconds(&after, "up"));
    assert!(up_time <= time && seconds(&after, "down") < 1.0, "{after}");
    assert!(seconds(&after, "unknown") > 0.0, "nobody looked while there was no gateway");
    assert!(seconds(&after, "unknown") < LOST.as_secs_f64() + 5.0, "{after}");

    // Now the whole, and it stays off for a while.
    let settled = slo(&up).await;
    let Up { mut process, dir, .. } = up;
    let off = now();
    process.kill9();
    process.wait(SOON).await.expect("it ends");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let up = Up::within(dir, "", &services).await;
    let back =
        slo_so(&up, "it is kept again", |one| seconds(one, "up") > seconds(&settled, "up")).await;
    let gone = now().duration_since(off).as_secs_f64();
    assert_eq!(total(&back, "good"), total(&settled, "good"), "nothing is lost once written");
    let unknown = seconds(&back, "unknown") - seconds(&settled, "unknown");
    assert!(unknown >= 3.0, "{unknown}: the time it was off is nobody's");
    assert!(unknown <= gone + LOST.as_secs_f64(), "{unknown} of {gone}");
    assert!(seconds(&back, "down") < 1.0, "and not counted as down: {back}");
    let ran = up.cli(&["slo"]).await;
    assert!(ran.code == 0 && ran.out.contains("unknown"), "{ran:?}");
}

#[tokio::test]
async fn of_what_is_asked_all_the_while_at_most_five_seconds_are_lost() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = Up::start(&service("", &[replica.url()])).await.ready().await;
    slo(&up).await;
    let stop = tokio::sync::watch::Sender::new(false);
    let asking = tokio::spawn(traffic(up.clients.clone(), stop.subscribe()));
    slo_so(&up, "some are older than five seconds", |one| total(one, "good") > 250).await;
    let gateway = up.gateway_pid().await;
    signal(gateway, Signal::KILL);
    let killed = now();
    stop.send_replace(true);
    let answered = asking.await.expect("it ends");
    until("another gateway", || async {
        let answer = Wire::get(&up.admin, "/api/v1/snapshot").await.ok()?;
        (answer.json()["gateway"]["pid"] != gateway).then_some(())
    })
    .await;
    let after = slo_so(&up, "the account goes on", |one| total(one, "good") > 0).await;
    // One that was under way may be answered by the next gateway.
    let sure = answered.iter().filter(|at| **at + LOST < killed).count() as u64;
    let kept = total(
        &slo_so(&up, "written again", |one| all_time(one) > all_time(&after) + 2.0).await,
        "good",
    );
    println!("{} answered, {sure} of them 5 s before the end, {kept} kept", answered.len());
    assert!(sure > 0, "it took too short a time to say anything");
    assert!(kept >= sure && kept <= answered.len() as u64 + 1, "{kept} of {}", answered.len());
}

#[tokio::test]
async fn a_hand_over_counts_neither_time_nor_requests_twice() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = Up::start(&service("", &[replica.url()])).await.ready().await;
    slo(&up).await;
    let began = now();
    for _ in 0..10 {
        good(&up).await;
    }
    // One that outlives the gateway which has begun it.
    replica.behave(Behaviour::Paced {
        first: Duration::from_millis(10),
        gap: Duration::from_millis(400),
    });
    let (clients, body) = (up.clients.clone(), chat("long", 10, true));
    let long = tokio::spawn(async move { ask(&clients, "", &body).await });
    until("it is under way", || async {
        (up.snapshot().await["services"][0]["active"] == 1).then_some(())
    })
    .await;
    let gateway = up.gateway_pid().await;
    assert_eq!(up.cli(&["upgrade"]).await.code, 0);
    until("another gateway", || async {
        let answer = Wire::get(&up.admin, "/api/v1/snapshot").await.ok()?;
        (answer.json()["gateway"]["pid"] != gateway).then_some(())
    })
    .await;
    let answer = long.await.expect("it ends");
    assert!(answer.status == 200 && answer.text().contains("[DONE]"), "{answer:?}");
    let one = slo_so(&up, "what the old one ended comes in", |one| total(one, "good") == 11).await;
    let since = one["since_unix_ms"].as_u64().expect("a time");
    let later = slo_so(&up, "it goes on", |later| all_time(later) > all_time(&one) + 4.0).await;
    assert_eq!((total(&later, "good"), total(&later, "bad")), (11, 0));
    let whole = now().duration_since(began).as_secs_f64();
    let lived = (evenkeel_domain::clock::unix_millis() - since) as f64 / 1e3;
    let known = all_time(&later) - seconds(&later, "unknown");
    assert!(known <= lived && all_time(&later) <= lived + 0.1, "{known} of {lived}: {later}");
    assert!(seconds(&later, "unknown") < LOST.as_secs_f64(), "{later}");
    assert!(seconds(&later, "down") < 0.6, "{whole}: {later}");
}

#[tokio::test]
async fn what_a_person_has_taken_out_is_planned_and_an_outage_pages() {
    // Five nines: half a second of an hour is 14 times too much.
    let services = supervised(1, &[]) + "[service.slo]\navailability = 99.999\nwindow = \"1d\"\n";
    let up = Up::start(&services).await.ready().await;
    slo_so(&up, "it is up", |one| seconds(one, "up") > 0.0).await;
    let before = slo(&up).await;
    assert_eq!(up.cli(&["replica", "drain", "chat-0"]).await.code, 0);
    let planned = slo_so(&up, "it is planned", |one| seconds(one, "planned") > 1.0).await;
    let grown = seconds(&planned, "down") - seconds(&before, "down");
    assert!(grown < 0.6, "{grown} s of a planned time are down");
    assert_eq!(up.cli(&["replica", "undrain", "chat-0"]).await.code, 0);
    up.replica("chat-0", |r| r["gate"] == "open").await;
    let process = up.pids().await[0];
    signal(process, Signal::STOP);
    let paged = slo_so(&up, "a page", |one| {
        let rules = one["rules"].as_array().cloned().unwrap_or_default();
        rules.iter().any(|r| r["severity"] == "page" && r["since_unix_ms"].is_u64())
    })
    .await;
    assert!(paged["left"].as_f64() < Some(1.0), "{paged}");
    let ran = up.cli(&["slo"]).await;
    assert!(ran.code == 1 && ran.out.contains("✖ page: 14.4x/1h by time since"), "{ran:?}");
    assert!(ran.out.contains("planned") && ran.out.contains("used up"), "{ran:?}");
    let ran = up.cli(&["status"]).await;
    assert!(ran.out.contains("error budget"), "{}", ran.out);
    let events = get(&up.admin, "/api/v1/events").await.text();
    assert!(events.contains("\"event\":\"budget\"") && events.contains("14.4x/1h"), "{events}");
    // Recovery restarts it; that is what is timed.
    let over = slo_so(&up, "an incident is timed", |one| {
        one["repair"]["count"].as_u64() >= Some(1) && one["detect"]["count"].as_u64() >= Some(1)
    })
    .await;
    assert!(over["repair"]["max_seconds"].as_f64() >= over["detect"]["p50_seconds"].as_f64());
    let ran = up.cli(&["plan", "recovery", "--measured", "chat"]).await;
    assert!(ran.code == 0 && ran.out.contains("recovery time (RTO)"), "{ran:?}");
}

#[tokio::test]
async fn a_wall_clock_that_is_stepped_moves_nothing() {
    let library = Path::new("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1");
    if !library.exists() {
        eprintln!("no libfaketime: `scripts/test` installs it");
        return;
    }
    let replica = Replica::start(Behaviour::Good).await;
    let dir = tempdir();
    let file = dir.path().join("offset");
    std::fs::write(&file, "+0\n").expect("a file can be written");
    let up = Up::changed(&service("", &[replica.url()]), |command| {
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    })
    .await
    .ready()
    .await;
    let before = slo_so(&up, "it is up", |one| seconds(one, "up") > 1.0).await;
    let (seen, mut steps) = (now(), 0);
    for (offset, more) in [("+3600", 20), ("-3600", 20), ("+0", 20)] {
        std::fs::write(&file, format!("{offset}\n")).expect("a file can be written");
        steps += 1;
        until("the step is noticed", || async {
            let view = get(&up.admin, "/api/v1/slo").await.json();
            (view["clock_steps"].as_u64() >= Some(steps)).then_some(())
        })
        .await;
        for _ in 0..more {
            good(&up).await;
        }
    }
    let after = slo_so(&up, "all is written", |one| total(one, "good") == 60).await;
    let passed = now().duration_since(seen).as_secs_f64();
    let grown = all_time(&after) - all_time(&before);
    println!("{passed:.2} s have passed, {grown:.2} s were accounted for");
    assert!((grown - passed).abs() < LOST.as_secs_f64(), "{grown} of {passed}");
    assert!(seconds(&after, "down") < 0.6 && seconds(&after, "unknown") < LOST.as_secs_f64());
    let window = &after["time"];
    assert!(window["up_seconds"].as_f64() > Some(seconds(&before, "up")), "{after}");
    // And it survives a whole that is killed with a wall that is wrong by an hour.
    let Up { mut process, dir: home, .. } = up;
    process.kill9();
    process.wait(SOON).await.expect("it ends");
    std::fs::write(&file, "-3600\n").expect("a file can be written");
    let up = Up::within(home, "", &service("", &[replica.url()])).await;
    let back = slo_so(&up, "it goes on", |one| all_time(one) > all_time(&after)).await;
    assert_eq!(total(&back, "good"), 60);
    assert!(all_time(&back) - all_time(&after) < 60.0, "no hour came from nowhere: {back}");
}

#[tokio::test]
async fn check_names_what_is_wrong_with_a_promise() {
    let dir = tempdir();
    let file = dir.path().join("bad.toml");
    let promise = "slo = { availability = 0.999, window = \"1h\", latency = \"0s\", \
                   latency_percent = 100 }";
    std::fs::write(&file, service(promise, &["http://127.0.0.1:9".into()])).expect("a file");
    let ran = evenkeel(&["check", &file.display().to_string()]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    for part in [
        "service[0].slo.availability: from 50 to below 100; it is in percent, try 99.9",
        "service[0].slo.window: from a day to a year",
        "service[0].slo.latency: above zero",
        "service[0].slo.latency_percent: from 1 to below 100",
    ] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
}

#[tokio::test]
async fn plans_show_figures_and_their_formulas() {
    let availability = ["plan", "availability", "-a", "99%", "-n", "3", "-k", "2", "--beta", "0"];
    let capacity = ["plan", "capacity", "--rate", "300/m", "--takes", "2s", "--slots", "4"];
    let recovery = ["plan", "recovery", "--detect", "3s", "--restore", "5m", "--every", "1h"];
    let saves = ["--copy-lag", "1m", "--change-rate", "1MB/s", "--mtbf", "2d", "--save", "30s"];
    for (args, parts) in [
        (availability.to_vec(), vec!["0.999702", "C(3, j)", "down"]),
        (vec!["plan", "availability", "-o", "99.99%"], vec!["52.56 min", "budget of a year"]),
        (vec!["plan", "availability", "-o", "99.9%"], vec!["8.76 h", "43.2 min"]),
        (
            vec!["plan", "availability", "--mtbf", "8759h", "--mttr", "1h"],
            vec!["99.988", "MTBF / (MTBF + MTTR)"],
        ),
        (capacity.to_vec(), vec!["L = λ · W = 5/s · 2 s = 10", "Erlang C", "replicas needed"]),
        ([&recovery[..], &saves].concat(), vec!["5.05 min", "61 min", "3.7 GB", "√(2 · T_fail"]),
    ] {
        let ran = evenkeel(&args).await;
        for part in parts {
            assert!(ran.code == 0 && ran.out.contains(part), "{part}: {ran:?}");
        }
    }
    let json = evenkeel(&["plan", "availability", "-a", "0.99", "--json"]).await;
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json[0]["value"], 0.99);
    for (args, part) in [
        (vec!["plan", "availability"], "nothing to plan"),
        (vec!["plan", "availability", "-a", "99.9"], "percent sign"),
        (vec!["plan", "availability", "-a", "0.9", "-n", "2", "-k", "3"], "--need: 3 of 2"),
        (vec!["plan", "capacity", "--rate", "10", "--takes", "1s", "-n", "5"], "more than 10"),
        (vec!["plan", "capacity", "--rate", "0", "--takes", "1s"], "requests a second"),
        (vec!["plan", "recovery"], "nothing to plan"),
        (vec!["plan", "recovery", "--mtbf", "1m", "--save", "2m"], "--save"),
    ] {
        let ran = evenkeel(&args).await;
        assert!(ran.code == 2 && ran.err.contains(part), "{part}: {ran:?}");
    }
}
