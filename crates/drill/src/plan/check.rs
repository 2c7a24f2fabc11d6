//! Contradictions in a drill file that its shape cannot express. All are found.

use crate::fault::{Kind, kind};
use crate::plan::{Bounds, Drill, FaultStep, Which};
use std::time::Duration;

/// All contradictions: (key, what is wrong and what helps).
#[must_use]
pub fn problems(drill: &Drill) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |key: &str, text: String| found.push((key.to_owned(), text));
    if drill.fault.is_empty() {
        add("fault", "nothing goes wrong: add a [[fault]], such as what = \"kill\"".into());
    }
    if drill.fault.len() > Bounds::FAULTS {
        add("fault", format!("more than {} faults: make two drills of it", Bounds::FAULTS));
    }
    for (at, step) in drill.fault.iter().enumerate() {
        for (key, text) in of_step(step) {
            add(&format!("fault[{at}].{key}"), text);
        }
    }
    if let Some((at, other)) = overlapping(drill) {
        let text = format!(
            "on the network while fault[{other}] is: the proxy has one at a time; set `after` so that \
             it comes later, or make two drills"
        );
        add(&format!("fault[{at}].after"), text);
    }
    of_numbers(drill, &mut add);
    of_target(drill, &mut add);
    found
}

/// Two faults on the network at the same time, of which only the later one would be there.
fn overlapping(drill: &Drill) -> Option<(usize, usize)> {
    let wire = |step: &FaultStep| matches!(kind(&step.what), Ok(Kind::Wire(..)));
    let span =
        |step: &FaultStep| (step.after, step.after.saturating_add(step.lasts.unwrap_or_default()));
    let all: Vec<_> = drill
        .fault
        .iter()
        .enumerate()
        .filter(|(_, step)| wire(step))
        .map(|(at, s)| (at, span(s)))
        .collect();
    all.iter().enumerate().find_map(|(nth, (at, (from, to)))| {
        let before = all[..nth].iter().find(|(_, other)| *from < other.1 && other.0 < *to);
        before.map(|(other, _)| (*at, *other))
    })
}

fn of_step(step: &FaultStep) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let kind = match kind(&step.what) {
        Ok(kind) => kind,
        Err(error) => return vec![("what", error.to_string())],
    };
    match (kind.is_over_at_once(), step.lasts, step.every) {
        (false, None, _) => found.push((
            "what",
            "lasts until it is removed: add `for`, such as for = \"10s\"".to_owned(),
        )),
        (true, Some(_), None) => found
            .push(("for", "it is over at once: remove `for`, or add `every` to repeat it".into())),
        (true, None, Some(_)) => found.push(("every", "without an end: add `for`".into())),
        (false, _, Some(_)) => {
            found.push(("every", "only for what is over at once, such as `kill`".into()))
        }
        _ => {}
    }
    if step.lasts.is_some_and(|time| time.is_zero() || time > Bounds::LONGEST) {
        found.push(("for", "above zero, up to a day".into()));
    }
    if step.every.is_some_and(|time| time < Bounds::SOONEST) {
        found.push(("every", "at least 100ms".into()));
    }
    if step.after.max(step.spread) > Bounds::LONGEST {
        found.push(("after", "`after` and `spread` are at most a day".into()));
    }
    if matches!(kind, Kind::Asked(_)) && !step.spread.is_zero() {
        found.push(("spread", "it is no fault of a replica: remove `spread`".into()));
    }
    found
}

fn of_numbers(drill: &Drill, add: &mut impl FnMut(&str, String)) {
    let load = &drill.load;
    if !(load.rate > 0.0 && load.rate <= Bounds::RATE) {
        add("load.rate", "above 0, up to 10000 requests a second".into());
    }
    if !["chat", "completions", "plain"].contains(&load.api.as_str()) {
        add("load.api", format!("`{}` is none of chat, completions, plain", load.api));
    }
    if load.api != "plain" && (load.body.is_some() || !load.path.is_empty()) {
        add("load.api", "`path` and `body` need `api = \"plain\"`".into());
    }
    if !load.path.is_empty() && !load.path.starts_with('/') {
        add("load.path", format!("`{}` does not begin with `/`", load.path));
    }
    if let Some(body) = load.body.as_ref().filter(|body| !body.is_file()) {
        add("load.body", format!("{} is no file", body.display()));
    }
    if !(1..=4096).contains(&load.prompts) || load.prompt_bytes > 1 << 20 {
        add("load.prompts", "from 1 to 4096 prompts of up to 1 MiB".into());
    }
    let times: [(&str, Duration); 5] = [
        ("load.timeout", load.timeout),
        ("steady.for", drill.steady.lasts),
        ("expect.recovered", drill.expect.recovered),
        ("stop.gap", drill.stop.gap),
        ("limits.time", drill.limits.time),
    ];
    for (key, time) in times {
        if time.is_zero() || time > Bounds::LONGEST {
            add(key, "above zero, up to a day".into());
        }
    }
    if drill.expect.after > Bounds::LONGEST {
        add("expect.after", "at most a day".into());
    }
    let expect = &drill.expect;
    if expect.longest_gap.is_some_and(|gap| gap >= drill.stop.gap) {
        add("expect.longest_gap", "not below `stop.gap`, at which the drill is broken off".into());
    }
    if expect.failed > drill.stop.failed {
        add("expect.failed", "above `stop.failed`, at which the drill is broken off".into());
    }
    if expect.detected.is_none() && (expect.incident || expect.severity > Default::default()) {
        add("expect", "says how it is to be known, but not by when: add `detected`".into());
    }
    let planned = planned(drill);
    if planned > drill.limits.time {
        let text = format!("shorter than the {planned:?} that it takes at most");
        add("limits.time", text);
    }
}

/// The longest that everything may take by its own bounds.
pub(crate) fn planned(drill: &Drill) -> Duration {
    let end = |step: &FaultStep| {
        let others = u32::try_from(drill.limits.replicas.saturating_sub(1)).unwrap_or(u32::MAX);
        let spread = step.spread.saturating_mul(others);
        step.after.saturating_add(step.lasts.unwrap_or_default()).saturating_add(spread)
    };
    let faults = drill.fault.iter().map(end).max().unwrap_or_default();
    let parts = [drill.steady.lasts, faults, drill.expect.recovered, drill.expect.after];
    parts.into_iter().fold(Duration::ZERO, Duration::saturating_add)
}

fn of_target(drill: &Drill, add: &mut impl FnMut(&str, String)) {
    let key = "target.replicas";
    let count = match &drill.target.replicas {
        Which::Count(count) => *count,
        Which::Names(names) => {
            let mut once = names.clone();
            once.sort();
            once.dedup();
            if once.len() < names.len() {
                add(key, "one is named twice".into());
            }
            names.len()
        }
        Which::Word(_) => 1,
    };
    if count == 0 {
        add(key, "names none; write \"any\", \"all\", a number or names".into());
    }
    if count > drill.limits.replicas {
        let text =
            format!("{count} are more than `limits.replicas` ({}) allows", drill.limits.replicas);
        add(key, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        let drill: Drill = serde_json::from_str(text).unwrap();
        problems(&drill).into_iter().map(|(key, text)| format!("{key}: {text}")).collect()
    }

    #[test]
    fn a_sound_drill_has_no_problems() {
        assert_eq!(of(r#"{"fault":[{"what":"kill"}]}"#), Vec::<String>::new());
        assert_eq!(of(r#"{"fault":[{"what":"stop","for":"5s"}]}"#), Vec::<String>::new());
    }

    #[test]
    fn every_contradiction_is_named_with_its_key_and_what_helps() {
        for (text, found) in [
            ("{}", "fault: nothing goes wrong"),
            (r#"{"fault":[{"what":"explode"}]}"#, "fault[0].what: fault `explode`: unknown"),
            (r#"{"fault":[{"what":"stop"}]}"#, "fault[0].what: lasts until"),
            (r#"{"fault":[{"what":"kill","for":"1s"}]}"#, "fault[0].for: it is over at once"),
            (r#"{"fault":[{"what":"kill","every":"1s"}]}"#, "fault[0].every: without an end"),
            (r#"{"fault":[{"what":"kill","every":"1ms","for":"1s"}]}"#, "at least 100ms"),
            (
                r#"{"fault":[{"what":"pass","for":"2s"},{"what":"reset:0","for":"2s","after":"1s"}]}"#,
                "fault[1].after: on the network while fault[0] is",
            ),
            (r#"{"fault":[{"what":"kill"}],"load":{"rate":0}}"#, "load.rate: above 0"),
            (r#"{"fault":[{"what":"kill"}],"target":{"replicas":0}}"#, "names none"),
            (
                r#"{"fault":[{"what":"kill"}],"target":{"replicas":2}}"#,
                "more than `limits.replicas`",
            ),
            (r#"{"fault":[{"what":"kill"}],"target":{"replicas":["a","a"]}}"#, "named twice"),
            (r#"{"fault":[{"what":"kill"}],"expect":{"incident":true}}"#, "not by when"),
            (
                r#"{"fault":[{"what":"kill"}],"expect":{"longest_gap":"1h"}}"#,
                "not below `stop.gap`",
            ),
            (r#"{"fault":[{"what":"kill"}],"limits":{"time":"1s"}}"#, "limits.time: shorter"),
        ] {
            let all = of(text);
            assert!(all.iter().any(|line| line.contains(found)), "{text}: {all:?}");
        }
    }
}
