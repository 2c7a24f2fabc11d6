//! What the stages promise, in virtual time.

use super::{Answer, BLIND, Desk, Policy, Quiet, Route, SETTLES, Step, WindowSettings};
use evenkeel_domain::alert::{
    Alert, Finding, Kind, Labels, Message, Millis, Severity, Silence, Table,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A moment at which nothing is blind any more.
const T0: Millis = 1_717_200_000_000;
const SECOND: Millis = 1_000;

fn finding(service: &str, lasting: Millis) -> Finding {
    Finding {
        key: format!("no_replica:{service}"),
        alert: "no_replica".into(),
        severity: Severity::Page,
        service: service.into(),
        labels: Labels::new(),
        what: format!("{service}: no replica"),
        why: "all are gone".into(),
        affected: String::new(),
        done: Vec::new(),
        next: "evenkeel status".into(),
        since: None,
        lasting,
    }
}

fn policy() -> Policy {
    let step = |to: &str, wait| Step { to: vec![to.into()], wait };
    Policy {
        routes: vec![Route {
            name: "pages".into(),
            matching: [("severity".into(), "page".into())].into(),
            during: None,
            steps: vec![step("first", 60 * SECOND), step("second", Millis::MAX)],
        }],
        group_by: vec!["service".into()],
        group_wait: 2 * SECOND,
        repeat: 600 * SECOND,
        channels: vec!["first".into(), "second".into()],
        ..Policy::default()
    }
}

/// A desk with channels that answer, and all that they were sent.
struct Room {
    desk: Desk,
    policy: Policy,
    now: Millis,
    sent: Vec<(Millis, Message)>,
    /// Channels that do not answer, or refuse.
    dead: BTreeMap<String, Answer>,
}

impl Room {
    fn new() -> Self {
        let desk = Desk::new(1, T0 - BLIND, &[]);
        Self { desk, policy: policy(), now: T0, sent: Vec::new(), dead: BTreeMap::new() }
    }

    /// Half a second with these findings.
    fn look(&mut self, findings: &[Finding]) {
        self.desk.step(self.now, findings.to_vec(), &self.policy);
        for message in self.desk.due(self.now, &BTreeSet::new()) {
            let said = Answer::Delivered("ok".into());
            let answer = self.dead.get(&message.channel).cloned().unwrap_or(said);
            if matches!(answer, Answer::Delivered(_)) {
                self.sent.push((self.now, message.clone()));
            }
            self.desk.settle(message.seq, answer, self.now);
        }
        self.now += 500;
    }

    fn run(&mut self, seconds: u64, findings: &[Finding]) {
        (0..seconds * 2).for_each(|_| self.look(findings));
    }

    fn kinds(&self) -> Vec<(&str, Kind)> {
        self.sent.iter().map(|(_, m)| (m.channel.as_str(), m.kind)).collect()
    }

    fn alert(&self) -> Alert {
        self.desk.open().next().expect("one is open").clone()
    }
}

#[test]
fn what_lasts_is_told_once_and_its_end_to_whoever_was_told() {
    let mut room = Room::new();
    let down = [finding("chat", 3 * SECOND)];
    room.run(2, &down);
    room.run(1, &[]);
    room.run(3, &down);
    assert!(room.sent.is_empty(), "it never lasted for three seconds");
    room.run(5, &down);
    assert_eq!(room.kinds(), [("first", Kind::Fires)]);
    room.run(2, &[]);
    room.run(2, &down);
    assert_eq!(room.sent.len(), 1, "a look that missed it is no end");
    room.run(SETTLES / SECOND + 2, &[]);
    assert_eq!(room.kinds(), [("first", Kind::Fires), ("first", Kind::Resolved)]);
    let resolved = &room.sent[1].1;
    assert_eq!(resolved.episode, room.sent[0].1.episode);
    assert!(!resolved.open && resolved.alerts[0].resolved.is_some());
    assert_eq!((room.desk.alerts.len(), room.desk.groups.len(), room.desk.outbox.len()), (0, 0, 0));
}

#[test]
fn nobody_acknowledges_so_the_next_is_called_and_then_all_again() {
    let mut room = Room::new();
    let down = [finding("chat", 0)];
    room.run(70, &down);
    assert_eq!(room.kinds(), [("first", Kind::Fires), ("second", Kind::Escalates)]);
    let waited = room.sent[1].0 - room.sent[0].0;
    assert!((60 * SECOND..61 * SECOND).contains(&waited), "{waited}");
    room.run(605, &down);
    assert_eq!(room.kinds()[2..], [("first", Kind::Repeats), ("second", Kind::Repeats)]);
    let id = room.alert().id;
    room.desk.acknowledge(&id, "ada", room.now).unwrap();
    room.run(2000, &down);
    assert_eq!(room.kinds()[4..], [("first", Kind::Acknowledged), ("second", Kind::Acknowledged)]);
    assert_eq!(room.sent[4].1.alerts[0].acknowledged.as_ref().map(|a| &*a.owner), Some("ada"));
    room.run(5, &[]);
    assert_eq!(room.kinds()[6..], [("first", Kind::Resolved), ("second", Kind::Resolved)]);
}

#[test]
fn an_acknowledgement_in_time_keeps_the_next_one_asleep() {
    let mut room = Room::new();
    let down = [finding("chat", 0)];
    room.run(10, &down);
    assert!(room.desk.acknowledge("9-9", "ada", room.now).is_err());
    assert_eq!(room.desk.acknowledge("all", "ada", room.now).unwrap().len(), 1);
    room.run(1000, &down);
    assert_eq!(room.kinds(), [("first", Kind::Fires), ("first", Kind::Acknowledged)]);
    // Something else begins in the same group: that is nobody's yet.
    let other = Finding { key: "check:gpu".into(), ..finding("chat", 0) };
    room.run(70, &[down[0].clone(), other]);
    assert_eq!(room.kinds()[2..], [("first", Kind::Fires), ("second", Kind::Escalates)]);
    assert_eq!(room.sent[3].1.alerts.len(), 1, "only what nobody looks after");
}

#[test]
fn a_silence_hides_says_so_and_ends() {
    let mut room = Room::new();
    let down = [finding("chat", 0)];
    let silence = Silence {
        id: String::new(),
        matching: [("service".into(), "ch*".into())].into(),
        owner: "ada".into(),
        why: "moving".into(),
        from: room.now,
        until: room.now + 60 * SECOND,
    };
    let past = Silence { until: room.now, ..silence.clone() };
    assert!(room.desk.silence(past, room.now).is_err(), "it would never hold");
    let id = room.desk.silence(silence.clone(), room.now).unwrap();
    room.run(30, &down);
    assert!(room.sent.is_empty());
    let why = room.alert().silenced.unwrap();
    assert!(why.contains("ada") && why.contains("moving") && why.contains(&id), "{why}");
    room.run(35, &down);
    assert_eq!(room.kinds(), [("first", Kind::Fires)], "it is over by itself");
    assert_eq!(room.desk.silences().count(), 0);
    let id =
        room.desk.silence(Silence { until: room.now + 9_000_000, ..silence }, room.now).unwrap();
    room.run(1000, &down);
    assert_eq!(room.sent.len(), 1, "neither repeated nor escalated");
    room.desk.unsilence(&id, "ada", room.now).unwrap();
    assert!(room.desk.unsilence(&id, "ada", room.now).is_err());
    // The time of the first step went by meanwhile.
    room.run(1, &down);
    assert_eq!(room.kinds()[1..], [("second", Kind::Escalates)]);
    room.run(5, &[]);
    assert_eq!(room.kinds()[2..], [("first", Kind::Resolved), ("second", Kind::Resolved)]);
}

#[test]
fn a_window_hides_what_it_names_only() {
    let mut room = Room::new();
    let all_day = WindowSettings::default().window().unwrap();
    let matching = [("service".into(), "chat".into())].into();
    room.policy.quiet = vec![Quiet { matching, window: all_day, why: "a test".into() }];
    room.run(10, &[finding("chat", 0), finding("embed", 0)]);
    assert_eq!(room.sent.len(), 1);
    assert_eq!(room.sent[0].1.alerts[0].finding.service, "embed");
}

#[test]
fn a_channel_that_refuses_has_the_next_step_called_at_once() {
    let mut room = Room::new();
    room.dead.insert("first".into(), Answer::Permanent("404".into()));
    let down = [finding("chat", 0)];
    room.run(5, &down);
    assert_eq!(room.kinds(), [("second", Kind::Escalates)]);
    let kinds: Vec<String> = room.desk.happened().into_iter().map(|h| h.past.kind).collect();
    assert_eq!(kinds, ["fires", "undelivered", "escalated", "delivered"]);
    room.run(5, &[]);
    assert_eq!(room.kinds()[1..], [("second", Kind::Resolved)], "only who was told");
}

#[test]
fn a_message_that_fails_holds_up_no_other_group() {
    let mut room = Room::new();
    room.desk.step(room.now, vec![finding("chat", 0), finding("embed", 0)], &room.policy);
    room.now += 3 * SECOND;
    room.desk.step(room.now, vec![finding("chat", 0), finding("embed", 0)], &room.policy);
    let first = room.desk.due(room.now, &BTreeSet::new());
    assert_eq!(first.len(), 1, "one at a time for one channel");
    assert!(room.desk.due(room.now, &["first".into()].into()).is_empty(), "it is busy");
    let poison = Answer::Retryable { why: "500".into(), after: None };
    room.desk.settle(first[0].seq, poison.clone(), room.now);
    let second = room.desk.due(room.now, &BTreeSet::new());
    assert_ne!(second[0].group, first[0].group);
    room.desk.settle(second[0].seq, Answer::Delivered(String::new()), room.now);
    assert!(room.desk.due(room.now, &BTreeSet::new()).is_empty(), "it backs off");
    let again = room.desk.due(room.now + SECOND, &BTreeSet::new());
    assert_eq!((again[0].id.clone(), again[0].tries), (first[0].id.clone(), 1), "the same id");
    let asked = Answer::Retryable { why: "429".into(), after: Some(30 * SECOND) };
    room.desk.settle(again[0].seq, asked, room.now);
    assert!(room.desk.due(room.now + 29 * SECOND, &BTreeSet::new()).is_empty());
    assert_eq!(room.desk.due(room.now + 30 * SECOND, &BTreeSet::new()).len(), 1);
}

#[test]
fn what_was_kept_goes_on_in_the_next_process() {
    let mut room = Room::new();
    let dead = Answer::Retryable { why: "refused".into(), after: None };
    room.dead.insert("first".into(), dead);
    let down = [finding("chat", 0)];
    room.run(5, &down);
    let docs = room.desk.changes();
    assert!(docs.iter().any(|doc| doc.table == Table::Message && doc.body.is_some()), "{docs:?}");
    let id = room.alert().id;
    // The next process finds it no more, but must still tell.
    let mut next = Room { desk: Desk::new(2, room.now, &docs), dead: BTreeMap::new(), ..room };
    next.run(1, &down);
    assert_eq!(next.kinds(), [("first", Kind::Fires)]);
    assert_eq!(next.sent[0].1.alerts[0].id, id);
    assert_eq!(next.alert().id, id, "it is the same alert");
    next.run(BLIND / SECOND - 3, &[]);
    assert_eq!(next.sent.len(), 1, "it does not know yet whether it is over");
    next.run(10, &[]);
    assert_eq!(next.kinds()[1..], [("first", Kind::Resolved)]);
    let names: BTreeSet<&str> = next.sent.iter().map(|(_, m)| m.id.as_str()).collect();
    assert_eq!(names.len(), next.sent.len(), "no number is given twice");
}

#[test]
fn what_cannot_be_read_of_what_was_kept_is_passed_over() {
    let tables = Table::ALL.map(|table| evenkeel_domain::alert::Doc {
        table,
        key: "1".into(),
        body: Some("{\"not\": \"ours\"}".into()),
    });
    let mut room = Room { desk: Desk::new(3, T0 - BLIND, &tables), ..Room::new() };
    room.run(5, &[finding("chat", 0)]);
    assert_eq!(room.kinds(), [("first", Kind::Fires)]);
}

#[test]
fn alerting_says_that_it_lives_and_a_channel_that_is_gone_is_let_go() {
    let mut room = Room::new();
    room.policy.alive = Some((vec!["second".into()], 10 * SECOND));
    room.run(31, &[]);
    let alive = room.kinds();
    assert_eq!(alive, [("second", Kind::Alive); 4]);
    room.dead.insert("first".into(), Answer::Retryable { why: "gone".into(), after: None });
    room.run(5, &[finding("chat", 0)]);
    room.policy.channels = vec!["second".into()];
    room.policy.routes.clear();
    room.desk.retain_channels(&room.policy, room.now);
    assert!(room.desk.outbox.values().all(|m| m.channel == "second"));
}

#[test]
fn a_ticket_that_becomes_a_page_is_told_again_and_not_back() {
    let mut room = Room::new();
    let ticket = Finding { severity: Severity::Ticket, ..finding("chat", 0) };
    room.run(10, std::slice::from_ref(&ticket));
    // No route takes tickets: all channels hear of them.
    assert_eq!(room.sent.len(), 2);
    room.run(10, &[finding("chat", 0)]);
    assert!(room.sent.len() > 2);
    let told = room.sent.len();
    room.run(10, &[ticket]);
    assert_eq!((room.sent.len(), room.alert().finding.severity), (told, Severity::Page));
}

/// One thing that happens in a property test.
#[derive(Debug, Clone)]
enum Move {
    /// So many half seconds with this service down or not.
    Pass(bool, u64),
    /// A channel stops answering, or answers again.
    First(bool),
    /// Somebody acknowledges everything.
    Ack,
    /// The process is killed, and the next one goes on with what was kept.
    Kill,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (any::<bool>(), 1u64..200).prop_map(|(down, n)| Move::Pass(down, n)),
        1 => any::<bool>().prop_map(Move::First),
        1 => Just(Move::Ack),
        1 => Just(Move::Kill),
    ];
    proptest::collection::vec(one, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn what_fires_is_delivered_and_what_ends_was_told(moves in moves()) {
        let mut room = Room::new();
        let down = [finding("chat", 3 * SECOND)];
        let mut fired: BTreeSet<String> = BTreeSet::new();
        let mut kept: BTreeMap<(Table, String), evenkeel_domain::alert::Doc> = BTreeMap::new();
        let mut epoch = 1;
        let passes = moves.into_iter().chain([Move::First(true), Move::Pass(true, 60), Move::Pass(false, 400)]);
        for step in passes {
            match step {
                Move::Pass(is, n) => (0..n).for_each(|_| {
                    room.look(if is { &down } else { &[] });
                    fired.extend(room.desk.open().map(|alert| alert.id.clone()));
                    for doc in room.desk.changes() {
                        kept.insert((doc.table, doc.key.clone()), doc);
                    }
                }),
                Move::First(true) => { room.dead.remove("first"); }
                Move::First(false) => {
                    let dead = Answer::Retryable { why: "dead".into(), after: None };
                    room.dead.insert("first".into(), dead);
                }
                Move::Ack => { let _ = room.desk.acknowledge("all", "ada", room.now); }
                Move::Kill => {
                    for doc in room.desk.changes() {
                        kept.insert((doc.table, doc.key.clone()), doc);
                    }
                    epoch += 1;
                    let docs: Vec<_> = kept.values().cloned().collect();
                    room.desk = Desk::new(epoch, room.now, &docs);
                }
            }
        }
        let told = |kind: fn(Kind) -> bool| -> BTreeSet<String> {
            let of = room.sent.iter().filter(|(_, m)| kind(m.kind));
            of.flat_map(|(_, m)| m.alerts.iter().map(|a| a.id.clone())).collect()
        };
        let heard = told(|kind| matches!(kind, Kind::Fires | Kind::Escalates | Kind::Repeats));
        // Somebody who acknowledged it before anybody was told knows of it already.
        let lost: Vec<&String> = fired.difference(&heard).collect();
        let acked = told(|kind| kind == Kind::Acknowledged);
        prop_assert!(lost.iter().all(|id| !acked.contains(*id)), "told of its seeing-to only");
        let unheard: Vec<_> = lost.into_iter().filter(|id| {
            room.desk.alerts.contains_key(*id)
        }).collect();
        prop_assert!(unheard.is_empty(), "{unheard:?} fire, and nobody was told");
        prop_assert!(told(|kind| kind == Kind::Resolved).is_subset(&heard), "ends without a beginning");
        let mut seen = BTreeSet::new();
        for (_, message) in &room.sent {
            prop_assert!(seen.insert(&message.id), "{} was delivered twice", message.id);
        }
        prop_assert!(room.desk.outbox.is_empty() && room.desk.alerts.is_empty());
    }

    #[test]
    fn at_most_one_message_a_group_and_repeat_interval(services in 1usize..5, seconds in 60u64..4000) {
        let mut room = Room::new();
        let names = ["a", "b", "c", "d", "e"];
        let down: Vec<Finding> = names[..services].iter().map(|s| finding(s, 0)).collect();
        room.run(seconds, &down);
        for channel in ["first", "second"] {
            for service in &names[..services] {
                let of = |m: &Message| m.channel == channel && m.alerts[0].finding.service == *service;
                let times: Vec<Millis> =
                    room.sent.iter().filter(|(_, m)| of(m)).map(|(at, _)| *at).collect();
                let most = seconds * SECOND / room.policy.repeat + 1;
                prop_assert!(times.len() as u64 <= most, "{channel} {service}: {times:?}");
            }
        }
    }
}
