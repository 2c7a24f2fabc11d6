//! Sources, on worlds made for them.

use super::{
    AlertRule, Broken, REGISTRY, ServiceSeen, SourceSettings, Stands, World, look, rule_problems,
};
use evenkeel_domain::alert::{Finding, Severity};
use evenkeel_domain::check::{Ahead, CheckState, CheckStatus, CheckValue, Unit};
use evenkeel_domain::incident::{Incident, Storm};
use evenkeel_domain::slo::{BudgetState, Firing, Sli};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn service() -> ServiceSeen {
    ServiceSeen {
        name: "chat".into(),
        tier: "core",
        stands: Stands::Down,
        was_up: true,
        open: (0, 2),
        out: vec![("chat-0".into(), "isolated: exited".into())],
        failed: (3, 4),
        stand_in: None,
        quarantined: 1,
    }
}

fn check(state: CheckState) -> CheckStatus {
    CheckStatus {
        check: "disk".into(),
        kind: "disk".into(),
        subject: String::new(),
        state,
        since_unix_ms: 5,
        why: "97%".into(),
        pending: None,
        looked_unix_ms: None,
        values: vec![CheckValue { measure: "used".into(), value: 0.97, unit: Unit::Share }],
        replicas: vec!["chat-0".into()],
        ahead: Some(Ahead { measure: "used".into(), at_unix_ms: 9, text: "100% at noon".into() }),
    }
}

fn everything() -> World {
    let firing = |rule, severity| Firing {
        rule,
        severity,
        sli: Sli::Time,
        long: 20.0,
        short: 99.0,
        since_unix_ms: 1,
    };
    let budget = BudgetState {
        service: "chat".into(),
        objective: 0.999,
        left: Some(0.5),
        burn: 20.0,
        firing: vec![firing("3x/1d", Severity::Ticket), firing("14.4x/1h", Severity::Page)],
        exhausted: None,
    };
    World {
        services: vec![service()],
        incidents: vec![(incident("escalated"), "waits".into())],
        storm: Some(Storm { since: 1, why: "too many restarts".into() }),
        budgets: Arc::new(vec![budget]),
        checks: vec![check(CheckState::Critical)],
        broken: vec![Broken { part: "recovery", why: "disk full".into() }],
        nodes: vec![("gpu1".into(), "silent".into())],
        channels: vec![("mail".into(), "refused".into())],
        ..World::default()
    }
}

fn incident(phase: &str) -> Incident {
    let step = serde_json::json!({
        "action": "ask", "text": "go on?", "when": "always",
        "timeout": { "secs": 1, "nanos": 0 }, "verify": "none", "tries": 1,
    });
    serde_json::from_value(serde_json::json!({
        "id": "1-9", "target": "chat-0", "service": "chat", "phase": phase, "back": null,
        "since": 5, "cause": "hung", "why": "silent", "signs": [],
        "times": { "onset": 4, "detected": null, "isolated": null, "mitigated": null, "resolved": null },
        "steps": [step], "at": 0, "tries": 0, "done": 1, "doing": null, "ends": 0, "note": "",
        "next": "evenkeel incident approve 1-9",
    }))
    .expect("an incident")
}

#[test]
fn only_an_incident_that_waits_for_a_person_calls_one() {
    let of = |phase| {
        let world = World { incidents: vec![(incident(phase), String::new())], ..World::default() };
        all(&world)
    };
    for phase in ["confirmed", "acting", "verifying", "paused", "resolved"] {
        assert_eq!(of(phase), [], "{phase}");
    }
    let found = of("escalated");
    assert!(found[0].what.contains("1-9 waits for an approval"), "{found:?}");
    assert_eq!((&*found[0].next, found[0].since), ("evenkeel incident approve 1-9", Some(4)));
    assert_eq!((&*found[0].labels["replica"], &*found[0].service), ("chat-0", "chat"));
}

fn all(world: &World) -> Vec<Finding> {
    look(world, &BTreeMap::new(), &[])
}

#[test]
fn each_source_says_what_who_and_what_to_do() {
    let found = all(&everything());
    let spoke: BTreeSet<&str> = found.iter().map(|finding| finding.alert.as_str()).collect();
    let known: BTreeSet<&str> = REGISTRY.iter().map(|s| s.name()).collect();
    assert_eq!(spoke, known);
    for finding in &found {
        assert!(!finding.what.is_empty() && !finding.next.is_empty(), "{finding:?}");
        assert!(!finding.affected.is_empty(), "{finding:?}");
    }
    let keys: BTreeSet<&String> = found.iter().map(|finding| &finding.key).collect();
    assert_eq!(keys.len(), found.len(), "two findings under one key");
    let burn = found.iter().find(|finding| finding.alert == "burn_rate").unwrap();
    assert_eq!((burn.severity, &*burn.labels["rule"]), (Severity::Page, "14.4x/1h"));
    let down = found.iter().find(|finding| finding.alert == "no_replica").unwrap();
    assert!(
        down.affected.contains("3 of 4 requests") && down.affected.contains("core"),
        "{down:?}"
    );
    assert!(down.next.contains("chat-0") && down.why.contains("exited"), "{down:?}");
}

#[test]
fn nothing_is_said_of_what_is_well_planned_or_not_known_yet() {
    assert_eq!(all(&World::default()), []);
    for stands in [Stands::Up, Stands::Planned, Stands::Unknown] {
        let well = ServiceSeen { stands, quarantined: 0, ..service() };
        let world = World { services: vec![well], ..World::default() };
        assert_eq!(all(&world), [], "{stands:?}");
    }
    let unknown = CheckStatus { ahead: None, ..check(CheckState::Unknown) };
    assert_eq!(all(&World { checks: vec![unknown], ..World::default() }), []);
    let out = vec![("chat-0".into(), "starting: loading".into())];
    let loads = ServiceSeen { was_up: false, out, ..service() };
    let world = World { services: vec![loads], ..World::default() };
    let first = all(&world).into_iter().find(|f| f.alert == "no_replica").unwrap();
    assert!(first.lasting >= 600_000, "a model that loads for the first time is no outage");
}

#[test]
fn the_configuration_has_the_last_word() {
    let off = SourceSettings { enabled: Some(false), ..SourceSettings::default() };
    let calm = SourceSettings {
        severity: Some(Severity::Ticket),
        lasting: Some(std::time::Duration::from_secs(9)),
        ..SourceSettings::default()
    };
    let said = [("storm".to_owned(), off), ("no_replica".to_owned(), calm)].into();
    let found = look(&everything(), &said, &[]);
    assert!(found.iter().all(|finding| finding.alert != "storm"));
    let down = found.iter().find(|finding| finding.alert == "no_replica").unwrap();
    assert_eq!((down.severity, down.lasting), (Severity::Ticket, 9_000));
}

#[test]
fn a_check_is_as_urgent_as_it_says_once_it_is_critical() {
    let severity = |state, urgent: &[(&str, Severity)]| {
        let urgent = urgent.iter().map(|(name, how)| ((*name).to_owned(), *how)).collect();
        let world = World { checks: vec![check(state)], urgent, ..World::default() };
        all(&world).into_iter().find(|finding| finding.alert == "check").unwrap().severity
    };
    assert_eq!(severity(CheckState::Critical, &[]), Severity::Page, "it speaks against chat-0");
    assert_eq!(severity(CheckState::Critical, &[("disk", Severity::Ticket)]), Severity::Ticket);
    assert_eq!(severity(CheckState::Warning, &[("disk", Severity::Page)]), Severity::Ticket);
}

fn rule(above: Option<&str>, below: Option<&str>) -> AlertRule {
    let amount = |text: &str| evenkeel_domain::check::Amount::Text(text.into());
    AlertRule {
        name: "full".into(),
        check: "disk".into(),
        measure: "used".into(),
        subject: None,
        above: above.map(amount),
        below: below.map(amount),
        severity: Severity::Page,
        lasting: std::time::Duration::from_secs(1),
        next: None,
    }
}

#[test]
fn a_rule_speaks_beyond_its_threshold_and_one_that_never_would_is_refused() {
    let world = everything();
    let speaks = |rule: AlertRule| {
        look(&world, &BTreeMap::new(), &[rule]).into_iter().find(|finding| finding.alert == "full")
    };
    let full = speaks(rule(Some("95%"), None)).unwrap();
    assert!(full.what.contains("above 95%") && full.why.contains("97%"), "{full:?}");
    assert!(speaks(rule(Some("98%"), None)).is_none());
    assert!(speaks(rule(None, Some("98%"))).is_some() && speaks(rule(None, Some("5%"))).is_none());
    let disk: evenkeel_domain::check::CheckSettings =
        serde_json::from_value(serde_json::json!({ "name": "disk", "kind": "disk" })).unwrap();
    let wrong = |rule: AlertRule| rule_problems(&[rule], std::slice::from_ref(&disk));
    assert_eq!(wrong(rule(Some("95%"), None)), []);
    for (bad, key) in [
        (rule(None, None), "above"),
        (rule(Some("1"), Some("2")), "above"),
        (rule(Some("much"), None), "above"),
        (rule(None, Some("0%")), "below"),
        (AlertRule { check: "dsk".into(), ..rule(Some("1"), None) }, "check"),
        (AlertRule { name: "storm".into(), ..rule(Some("1"), None) }, "name"),
    ] {
        assert_eq!(wrong(bad).first().map(|(_, key, _)| *key), Some(key));
    }
}
