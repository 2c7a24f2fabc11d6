//! In which order the rungs are tried. Pure.

use super::Api;
use super::ask::{Ask, Sampling};
use super::ledger::Ledger;
use super::rung::Rung;
use evenkeel_domain::{Abilities, Known};
use smallvec::SmallVec;
use std::time::Duration;

/// How long a greedy answer may be generated anew before going on from its text is tried
/// first: exactness is certain with the former, likely with the latter.
pub(crate) const ANEW_MAX: Duration = Duration::from_millis(600);

/// The rungs for a replica, best first. `anew`: how long the answer so far would take again.
pub(crate) fn rungs(
    ask: &Ask,
    ledger: &Ledger,
    can: &Abilities,
    anew: Duration,
) -> SmallVec<[Rung; 3]> {
    let mut rungs = SmallVec::new();
    if ledger.forgotten {
        return rungs;
    }
    let goes_on = ask.plain && ledger.is_begun() && ledger.is_plain() && !ledger.is_answered(ask);
    let replay = goes_on && ledger.ids.is_some() && can.token_ids.get() == Known::Yes && {
        // A chat's own limit is unknown to the endpoint that takes ids.
        ask.api == Api::Completions || ask.api == Api::Chat && ask.max_tokens.is_some()
    };
    let prefill = goes_on
        && match ask.api {
            // What completes a text goes on from a longer one, too.
            Api::Completions => ask.text_prompt && ask.api.prefill(can) != Known::No,
            _ => matches!(ask.api.prefill(can), Known::Yes | Known::Echoes),
        };
    let mut add = |rung, possible: bool| {
        if possible && !rungs.contains(&rung) {
            rungs.push(rung);
        }
    };
    match ask.sampling {
        Sampling::Free => {
            add(Rung::Replay, replay);
            add(Rung::Prefill, prefill);
        }
        // From its beginning only is it the same.
        Sampling::Seeded => {}
        Sampling::Greedy if ask.penalised => {}
        Sampling::Greedy => {
            add(Rung::Replay, replay);
            add(Rung::Prefill, prefill && anew > ANEW_MAX);
        }
    }
    add(Rung::Regenerate, true);
    add(Rung::Replay, replay);
    add(Rung::Prefill, prefill);
    rungs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::notes;

    fn begun(ids: bool) -> Ledger {
        let mut ledger = Ledger::default();
        let prompt = if ids { r#""prompt_token_ids":[1],"# } else { "" };
        let own = if ids { r#","token_ids":[2]"# } else { "" };
        let event = format!(r#"{{{prompt}"choices":[{{"delta":{{"content":"a"}}{own}}}]}}"#);
        ledger.apply(&notes::read(Api::Chat, "", &event).unwrap());
        ledger
    }

    fn order(body: &str, ids: bool, prefill: Known, anew_ms: u64) -> Vec<Rung> {
        let can = Abilities::default();
        can.token_ids.set(if ids { Known::Yes } else { Known::No });
        can.chat_prefill.set(prefill);
        let ask = Ask::read(Api::Chat, body.as_bytes()).unwrap();
        rungs(&ask, &begun(ids), &can, Duration::from_millis(anew_ms)).to_vec()
    }

    #[test]
    fn the_whole_table() {
        use Known::{Echoes, No, Unknown, Yes};
        use Rung::{Prefill, Regenerate, Replay};
        let greedy = r#"{"temperature":0,"max_tokens":5}"#;
        let free = r#"{"max_tokens":5}"#;
        let seeded = r#"{"seed":1,"max_tokens":5}"#;
        let tools = r#"{"tools":[{}],"max_tokens":5}"#;
        let penalised = r#"{"temperature":0,"max_tokens":5,"presence_penalty":1}"#;
        type Case<'a> = (&'a str, bool, Known, u64, &'a [Rung]);
        let table: &[Case<'_>] = &[
            (greedy, true, Yes, 0, &[Replay, Regenerate, Prefill]),
            (greedy, false, Yes, 0, &[Regenerate, Prefill]),
            (greedy, false, Echoes, 5000, &[Prefill, Regenerate]),
            (greedy, false, Unknown, 5000, &[Regenerate]),
            (free, true, Yes, 0, &[Replay, Prefill, Regenerate]),
            (free, false, Yes, 0, &[Prefill, Regenerate]),
            (free, false, No, 0, &[Regenerate]),
            (seeded, true, Yes, 5000, &[Regenerate, Replay, Prefill]),
            (tools, true, Yes, 0, &[Regenerate]),
            (penalised, true, Yes, 5000, &[Regenerate, Replay, Prefill]),
            // Without a limit a chat cannot be replayed as ids.
            (r#"{"temperature":0}"#, true, No, 0, &[Regenerate]),
        ];
        for (body, ids, prefill, anew, expected) in table {
            assert_eq!(order(body, *ids, *prefill, *anew), *expected, "{body} {ids} {prefill:?}");
        }
    }

    #[test]
    fn what_is_forgotten_is_not_resumed() {
        let mut ledger = begun(true);
        ledger.forget();
        let ask = Ask::read(Api::Chat, b"{}").unwrap();
        assert!(rungs(&ask, &ledger, &Abilities::default(), Duration::ZERO).is_empty());
    }
}
