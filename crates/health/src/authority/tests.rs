//! The authority's records under virtual time: no task, no sleep.

use super::record::Record;
use crate::detector::testing::{ERROR, GOOD, PROBE_OK, REFUSED, RESET, at, probe_failed, signal};
use crate::operator::{Order, Override};
use evenkeel_domain::replica::{Identity, name_hash};
use evenkeel_domain::settings::*;
use evenkeel_domain::transport::{Dial, DialError, Dialing};
use evenkeel_domain::{Endpoint, Gate, Health, Incarnation, NetworkFault, Replica, SignalKind};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
struct Nowhere;

impl Dial for Nowhere {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async { Err(DialError { fault: NetworkFault::Refused, text: "nowhere".into() }) })
    }
}

pub(super) fn replica(key: u64) -> Replica {
    Replica::new(Identity {
        key,
        name: "s-0".into(),
        name_hash: name_hash("s-0"),
        service: "s".into(),
        endpoint: Endpoint::loopback(1),
        revision: "".into(),
        weight: 1.0,
        max_in_flight: 0,
        headers: Vec::new(),
        h2: false,
        model: None,
        supervised: false,
        startup_deadline: None,
        standby: None,
        dial: Arc::new(Nowhere),
    })
}

pub(super) fn settings() -> ServiceSettings {
    ServiceSettings {
        name: "s".into(),
        models: vec![],
        aliases: Default::default(),
        tier: Tier::Core,
        protocol: Protocol::Openai,
        balance: "least_requests".into(),
        balance_options: Default::default(),
        deadlines: Default::default(),
        retry: Default::default(),
        hold: Default::default(),
        hedge: Default::default(),
        concurrency: Default::default(),
        queue: Default::default(),
        resume: Default::default(),
        probe: Default::default(),
        ejection: Default::default(),
        answers: Default::default(),
        limits: Default::default(),
        slo: Default::default(),
        max_body: 1,
        max_replay: 1,
    }
}

fn record() -> Record {
    Record::new(Arc::new(replica(1)), Arc::new(settings()), at(0))
}

/// Feeds signals at their times and gives the state after each.
fn play(record: &mut Record, script: &[(u64, Option<SignalKind>, Health)]) {
    for (step, (ms, kind, expected)) in script.iter().enumerate() {
        if let Some(kind) = kind {
            record.observe(&signal(*ms, kind.clone()));
        }
        record.judge(true, None, at(*ms));
        let live = &record.replica.live;
        assert_eq!(live.health(), *expected, "step {step} at {ms} ms: {}", live.why());
    }
}

#[test]
fn a_server_that_comes_up_is_starting_until_it_answers() {
    play(
        &mut record(),
        &[
            (0, None, Health::Starting),
            (100, Some(probe_failed(true, false)), Health::Starting),
            (200, Some(probe_failed(false, true)), Health::Starting),
            (300, Some(PROBE_OK), Health::Healthy),
        ],
    );
}

#[test]
fn a_refusal_isolates_at_once_and_an_answer_ends_it() {
    let mut r = record();
    play(
        &mut r,
        &[
            (0, Some(PROBE_OK), Health::Healthy),
            (10, Some(REFUSED), Health::Isolated),
            (300, Some(probe_failed(true, false)), Health::Isolated),
        ],
    );
    assert_eq!(r.replica.live.gate(), Gate::Shut);
    play(
        &mut r,
        &[(900, Some(PROBE_OK), Health::Probation), (61_000, Some(PROBE_OK), Health::Healthy)],
    );
}

#[test]
fn what_failed_while_it_was_gone_is_forgotten_when_it_is_back() {
    let mut r = record();
    r.observe(&signal(0, PROBE_OK));
    r.judge(true, None, at(0));
    for ms in 10..60 {
        r.observe(&signal(ms, if ms % 2 == 0 { RESET } else { REFUSED }));
        r.judge(true, None, at(ms));
    }
    assert_eq!(r.replica.live.health(), Health::Isolated);
    play(&mut r, &[(2000, Some(PROBE_OK), Health::Probation)]);
}

#[test]
fn a_reset_is_a_suspicion_that_a_probe_clears() {
    play(
        &mut record(),
        &[
            (0, Some(PROBE_OK), Health::Healthy),
            (61_000, None, Health::Healthy),
            (61_010, Some(RESET), Health::Suspect),
            (61_050, Some(PROBE_OK), Health::Healthy),
        ],
    );
}

#[test]
fn hung_is_suspect_at_the_first_failed_probe_and_isolated_when_it_lasts() {
    play(
        &mut record(),
        &[
            (0, Some(PROBE_OK), Health::Healthy),
            (1000, Some(probe_failed(false, false)), Health::Suspect),
            (1700, Some(probe_failed(false, false)), Health::Suspect),
            (2400, Some(probe_failed(false, false)), Health::Suspect),
            // A pause, with a lost packet on either side.
            (4400, Some(probe_failed(false, false)), Health::Suspect),
            (4500, Some(probe_failed(false, false)), Health::Isolated),
            (40_000, Some(PROBE_OK), Health::Probation),
        ],
    );
}

#[test]
fn errors_in_a_row_isolate_for_a_time_that_grows() {
    let mut r = record();
    play(
        &mut r,
        &[
            (0, Some(PROBE_OK), Health::Healthy),
            (1, Some(ERROR), Health::Healthy),
            (2, Some(ERROR), Health::Suspect),
            (3, Some(ERROR), Health::Suspect),
            (4, Some(ERROR), Health::Suspect),
            (5, Some(ERROR), Health::Isolated),
            (5000, Some(PROBE_OK), Health::Isolated),
            (30_010, Some(PROBE_OK), Health::Probation),
            (30_020, Some(ERROR), Health::Suspect),
            (30_030, Some(ERROR), Health::Suspect),
            (30_040, Some(ERROR), Health::Suspect),
            (30_050, Some(ERROR), Health::Isolated),
            (85_000, Some(PROBE_OK), Health::Isolated),
            (90_100, Some(PROBE_OK), Health::Probation),
        ],
    );
}

#[test]
fn a_suspicion_of_errors_fades_when_nothing_more_comes() {
    play(
        &mut record(),
        &[
            (0, Some(PROBE_OK), Health::Healthy),
            (61_000, Some(ERROR), Health::Healthy),
            (61_001, Some(ERROR), Health::Suspect),
            (62_500, None, Health::Suspect),
            (63_100, None, Health::Healthy),
            (63_200, Some(GOOD), Health::Healthy),
            (63_300, Some(ERROR), Health::Healthy),
        ],
    );
}

#[test]
fn under_the_cap_statistics_only_make_suspect_but_an_exit_isolates() {
    let mut r = record();
    r.observe(&signal(0, PROBE_OK));
    r.judge(false, None, at(0));
    for ms in 1..10 {
        r.observe(&signal(ms, ERROR));
        r.judge(false, None, at(ms));
    }
    assert_eq!(r.replica.live.health(), Health::Suspect);
    r.observe(&signal(20, SignalKind::Exited("killed by signal 9".into())));
    r.judge(false, None, at(20));
    assert_eq!(r.replica.live.health(), Health::Isolated);
    assert!(r.replica.live.why().contains("signal 9"));
}

#[test]
fn a_new_start_owes_nothing_for_the_old_one() {
    let mut r = record();
    play(&mut r, &[(0, Some(PROBE_OK), Health::Healthy), (5, Some(REFUSED), Health::Isolated)]);
    let mut started = signal(100, SignalKind::Started);
    started.incarnation = Incarnation(2);
    r.started(&started, at(100));
    play(&mut r, &[(110, None, Health::Starting), (500, Some(PROBE_OK), Health::Healthy)]);
    assert_eq!(r.replica.live.incarnation(), Incarnation(2));
}

#[test]
fn an_operators_order_comes_before_all_and_ends() {
    let mut r = record();
    play(&mut r, &[(0, Some(PROBE_OK), Health::Healthy)]);
    let drain = Override {
        replica: "s-0".into(),
        order: Order::Drain,
        owner: "ops".into(),
        until_unix_ms: Some(5),
    };
    assert!(drain.holds(4) && !drain.holds(5));
    r.judge(true, Some(&drain), at(10));
    assert_eq!(r.replica.live.health(), Health::Draining);
    play(&mut r, &[(20, Some(PROBE_OK), Health::Healthy)]);
}

#[test]
fn silence_counts_only_while_peers_move() {
    let still = |still, peers_move| SignalKind::Tally {
        good: 5,
        faults: 0,
        silent: 0,
        still: Duration::from_millis(still),
        peers_move,
    };
    let waiting = |waited| SignalKind::Waiting {
        waited: Duration::from_millis(waited),
        normal: Some(Duration::from_millis(400)),
    };
    play(
        &mut record(),
        &[
            (0, Some(PROBE_OK), Health::Healthy),
            (61_000, Some(waiting(1300)), Health::Healthy),
            (61_001, Some(still(1300, false)), Health::Healthy),
            (61_002, Some(still(200, true)), Health::Healthy),
            (61_003, Some(still(1300, true)), Health::Suspect),
            (61_500, Some(still(10, true)), Health::Healthy),
        ],
    );
}

#[test]
fn what_never_answered_is_out_after_its_deadline_and_joins_once_it_answers() {
    let Replica { mut id, .. } = replica(1);
    id.startup_deadline = Some(Duration::from_secs(600));
    let mut r = Record::new(Arc::new(Replica::new(id)), Arc::new(settings()), at(0));
    let refused = || Some(probe_failed(true, false));
    play(&mut r, &[(0, None, Health::Starting), (100, refused(), Health::Starting)]);
    r.tally(Duration::ZERO, false, at(599_999));
    play(&mut r, &[(599_999, None, Health::Starting)]);
    r.tally(Duration::ZERO, false, at(600_000));
    play(&mut r, &[(600_000, None, Health::Isolated), (601_000, refused(), Health::Isolated)]);
    assert!(r.replica.live.evidence().by.contains(&"absent"));
    assert!(r.replica.live.why().contains("never answered"), "{}", r.replica.live.why());
    play(&mut r, &[(700_000, Some(PROBE_OK), Health::Probation)]);
    // It has answered once: whatever comes later is something else.
    r.tally(Duration::ZERO, false, at(800_000));
    play(&mut r, &[(800_000, None, Health::Healthy)]);
}
