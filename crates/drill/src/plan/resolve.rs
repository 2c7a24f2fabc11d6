//! Who is meant by a drill, and whether it may be done to them. Said before anything begins.

use crate::fault::{Kind, Need, kind};
use crate::plan::{Drill, Look, ReplicaLook, ServiceLook, Which};
use evenkeel_domain::Endpoint;
use std::time::Duration;

/// A drill whose targets are known.
#[derive(Debug)]
pub struct Resolved {
    /// The service.
    pub service: String,
    /// The model that clients ask for.
    pub model: String,
    /// The replicas that are touched, in order.
    pub replicas: Vec<String>,
    /// What is done.
    pub tasks: Vec<Task>,
}

/// One fault on one target.
#[derive(Debug)]
pub struct Task {
    /// As it was written.
    pub what: String,
    /// What that is.
    pub kind: Kind,
    /// The replica; `None` for Evenkeel itself or its host.
    pub replica: Option<String>,
    /// When, since the first.
    pub after: Duration,
    /// For how long; `None` for what is over at once.
    pub lasts: Option<Duration>,
    /// How often it is done again within that time.
    pub every: Option<Duration>,
}

/// Finds who is meant.
///
/// # Errors
/// With everything that stands against it, each with its remedy.
pub fn resolve(drill: &Drill, look: &Look) -> Result<Resolved, Vec<String>> {
    let service = service(drill, look).map_err(|why| vec![why])?;
    let mut chosen = choose(drill, service).map_err(|why| vec![why])?;
    // What is done to Evenkeel itself touches no replica.
    let kinds: Vec<(usize, Kind)> = drill
        .fault
        .iter()
        .enumerate()
        .filter_map(|(at, f)| Some((at, kind(&f.what).ok()?)))
        .collect();
    if !kinds.iter().any(|(_, kind)| kind.is_of_replica()) {
        chosen.clear();
    }
    let mut wrong = Vec::new();
    let open = service.replicas.iter().filter(|r| r.is_open()).count();
    if open < drill.limits.ready {
        wrong.push(format!(
            "`{}` has {open} replicas that take traffic and `limits.ready` asks for {}: wait \
             until they do (`evenkeel status`), or lower it",
            service.name, drill.limits.ready
        ));
    }
    if drill.limits.budget {
        wrong.extend(service.may_drill().err());
    }
    if chosen.len() > drill.limits.replicas {
        wrong.push(format!(
            "{} replicas of `{}` would be touched and `limits.replicas` allows {}: raise it or \
             name fewer",
            chosen.len(),
            service.name,
            drill.limits.replicas
        ));
    }
    let mut tasks = Vec::new();
    for (at, kind) in kinds {
        let step = &drill.fault[at];
        let targets: Vec<Option<&ReplicaLook>> = match kind.is_of_replica() {
            true => chosen.iter().copied().map(Some).collect(),
            false => vec![None],
        };
        for (nth, replica) in targets.into_iter().enumerate() {
            for need in kind.needs() {
                wrong.extend(
                    lacks(need, service, replica)
                        .map(|why| format!("fault `{}`: {why}", step.what)),
                );
            }
            tasks.push(Task {
                what: step.what.clone(),
                kind: kind.clone(),
                replica: replica.map(|r| r.name.clone()),
                after: step.after
                    + step.spread.saturating_mul(u32::try_from(nth).unwrap_or(u32::MAX)),
                lasts: step.lasts,
                every: step.every,
            });
        }
    }
    wrong.sort();
    wrong.dedup();
    let names = chosen.iter().map(|r| r.name.clone()).collect();
    let model = service.models.first().filter(|m| *m != "*");
    let model = model.cloned().unwrap_or_else(|| "default".into());
    match wrong.is_empty() {
        true => Ok(Resolved { service: service.name.clone(), model, replicas: names, tasks }),
        false => Err(wrong),
    }
}

fn service<'a>(drill: &Drill, look: &'a Look) -> Result<&'a ServiceLook, String> {
    let known = || look.services.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
    match (drill.target.service.as_str(), look.services.as_slice()) {
        ("", [one]) => Ok(one),
        ("", _) => Err(format!(
            "names no target, and there is more than one: write `service` under [target], one \
             of {}",
            known()
        )),
        (name, _) => look
            .service(name)
            .ok_or_else(|| format!("target.service: there is no `{name}`; there is {}", known())),
    }
}

fn choose<'a>(drill: &Drill, service: &'a ServiceLook) -> Result<Vec<&'a ReplicaLook>, String> {
    let named = |name: &String| {
        service.replicas.iter().find(|r| r.name == *name).ok_or_else(|| {
            let known: Vec<_> = service.replicas.iter().map(|r| r.name.as_str()).collect();
            format!("target.replicas: there is no `{name}`; there is {}", known.join(", "))
        })
    };
    let first = |count: usize| {
        let open: Vec<_> = service.replicas.iter().filter(|r| r.is_open()).take(count).collect();
        match open.len() == count {
            true => Ok(open),
            false => Err(format!(
                "target.replicas: {count} are meant and {} of `{}` take traffic: wait until they \
                 do, or name fewer",
                open.len(),
                service.name
            )),
        }
    };
    match &drill.target.replicas {
        Which::Count(count) => first(*count),
        Which::Word(word) if word == "any" => first(1),
        Which::Word(word) if word == "all" => Ok(service.replicas.iter().collect()),
        Which::Word(name) => Ok(vec![named(name)?]),
        Which::Names(names) => names.iter().map(named).collect(),
    }
}

/// What is missing for a fault, and what helps.
fn lacks(need: Need, service: &ServiceLook, replica: Option<&ReplicaLook>) -> Option<String> {
    match (need, replica) {
        (Need::Process, Some(replica)) => {
            if let Some(node) = &replica.node {
                return Some(format!(
                    "{} runs on node {node}: faults on processes reach this host only",
                    replica.name
                ));
            }
            replica.pid.is_none().then(|| {
                format!(
                    "{} is not run by Evenkeel, so its process is not known: use a fault on the \
                     network such as `refuse:running`, or a replica with a `command`",
                    replica.name
                )
            })
        }
        (Need::Address, Some(replica)) => replica
            .url
            .parse::<Endpoint>()
            .err()
            .map(|_| format!("{} has no address yet: wait until it is started", replica.name)),
        (Need::PlainHttp, Some(replica)) => {
            let tls = replica.url.parse::<Endpoint>().is_ok_and(|endpoint| endpoint.tls);
            (tls || service.protocol == "grpc").then(|| {
                format!(
                    "it reads HTTP/1, and {} speaks TLS or gRPC: use one that does not, such as \
                     `latency`, `reset` or `half-open`",
                    replica.name
                )
            })
        }
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look() -> Look {
        let replica = |n: u32, gate: &str, pid: Option<u32>| ReplicaLook {
            name: format!("chat-{n}"),
            url: format!("http://127.0.0.1:{}", 4000 + n),
            gate: gate.into(),
            pid,
            ..ReplicaLook::default()
        };
        let chat = ServiceLook {
            name: "chat".into(),
            models: vec!["m".into()],
            replicas: vec![
                replica(0, "shut", Some(1)),
                replica(1, "open", Some(2)),
                replica(2, "open", None),
            ],
            ..ServiceLook::default()
        };
        Look { services: vec![chat], ..Look::default() }
    }

    fn of(text: &str) -> Result<Resolved, Vec<String>> {
        resolve(&serde_json::from_str(text).unwrap(), &look())
    }

    #[test]
    fn any_is_one_that_takes_traffic() {
        let resolved = of(r#"{"fault":[{"what":"kill"}]}"#).unwrap();
        assert_eq!(
            (resolved.replicas, resolved.model),
            (vec!["chat-1".to_owned()], "m".to_owned())
        );
        let own = of(r#"{"fault":[{"what":"gateway-kill"}]}"#).unwrap();
        assert!(own.replicas.is_empty() && own.tasks[0].replica.is_none());
    }

    #[test]
    fn spread_sets_one_after_the_other() {
        let text = r#"{"fault":[{"what":"latency:1s","for":"1s","spread":"2s"}],
            "target":{"replicas":2},"limits":{"replicas":2}}"#;
        let after: Vec<_> = of(text).unwrap().tasks.iter().map(|t| t.after.as_secs()).collect();
        assert_eq!(after, [0, 2]);
    }

    #[test]
    fn what_cannot_be_is_said_before_anything_begins() {
        for (text, why) in [
            (r#"{"fault":[{"what":"kill"}],"target":{"service":"x"}}"#, "there is no `x`"),
            (r#"{"fault":[{"what":"kill"}],"target":{"replicas":"x"}}"#, "there is no `x`"),
            (
                r#"{"fault":[{"what":"kill"}],"target":{"replicas":"chat-2"}}"#,
                "not run by Evenkeel",
            ),
            (r#"{"fault":[{"what":"kill"}],"target":{"replicas":3}}"#, "3 are meant and 2"),
            (r#"{"fault":[{"what":"kill"}],"limits":{"ready":3}}"#, "`limits.ready` asks for 3"),
            (
                r#"{"fault":[{"what":"kill"}],"target":{"replicas":"all"}}"#,
                "`limits.replicas` allows 1",
            ),
        ] {
            let wrong = of(text).unwrap_err().join("\n");
            assert!(wrong.contains(why), "{wrong}");
        }
        let mut spent = look();
        let drill: Drill =
            serde_json::from_str(r#"{"fault":[{"what":"kill"}],"limits":{"budget":true}}"#)
                .unwrap();
        for (left, burns, why) in [
            (None, "", "not known yet"),
            (Some(-0.1), "", "nothing is left"),
            (Some(0.5), "14.4x/1h", "14.4x/1h"),
        ] {
            (spent.services[0].budget_left, spent.services[0].burns) = (left, burns.into());
            let wrong = resolve(&drill, &spent).unwrap_err().join("\n");
            assert!(wrong.contains(why), "{wrong}");
        }
        (spent.services[0].budget_left, spent.services[0].burns) = (Some(0.5), String::new());
        assert!(resolve(&drill, &spent).is_ok());
        let mut two = look();
        two.services.push(ServiceLook { name: "b".into(), ..ServiceLook::default() });
        let drill = serde_json::from_str(r#"{"fault":[{"what":"kill"}]}"#).unwrap();
        assert!(resolve(&drill, &two).unwrap_err()[0].contains("names no target"));
    }
}
