//! `evenkeel plan capacity`.

use super::super::slo::render::percent;
use super::units::{plain, rate, share, time, trimmed};
use super::{Step, Steps, Wrong};
use evenkeel_slo::capacity::{Demand, Waiting, erlang_c, load, places_for, waits_longer};
use std::time::Duration;

/// Arguments of `evenkeel plan capacity`.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Args {
    /// Requests that arrive: 5 (a second), 300/m or 2000/h
    #[arg(short, long, value_parser = rate)]
    rate: f64,
    /// How long one takes on a replica, on average, such as 8s
    #[arg(short, long, value_parser = humantime::parse_duration)]
    takes: Duration,
    /// Requests that a replica has under way at once
    #[arg(short, long, default_value_t = 1)]
    slots: u32,
    /// How many replicas there are; without it, as many as are needed
    #[arg(short = 'n', long)]
    replicas: Option<u32>,
    /// How long a request may wait for a place
    #[arg(short, long, value_parser = humantime::parse_duration, default_value = "1s")]
    wait: Duration,
    /// Share of the requests that may wait longer
    #[arg(short, long, value_parser = share, default_value = "5%")]
    few: f64,
    /// Replicas that may be missing, for repair or renewal
    #[arg(long, default_value_t = 1)]
    spare: u32,
    /// As JSON
    #[arg(long)]
    pub(in super::super) json: bool,
}

pub(super) fn steps(args: &Args) -> Steps {
    if args.slots == 0 {
        return Err(Wrong::input("--slots: at least 1"));
    }
    let demand = Demand { rate: args.rate, takes: args.takes };
    let in_use = load(demand)?;
    let (rate, takes) = (trimmed(args.rate, 3), time(args.takes));
    let formula = format!("L = λ · W = {rate}/s · {takes} = {}", trimmed(in_use, 3));
    let mut steps = vec![Step::new("under way on average", formula, trimmed(in_use, 2), in_use)];
    let replicas = match args.replicas {
        Some(replicas) => replicas,
        None => needed(args, demand, &mut steps)?,
    };
    let places = replicas
        .checked_mul(args.slots)
        .ok_or_else(|| Wrong::input("--replicas: times --slots is more than can be counted"))?;
    waiting(args, demand, places, &mut steps)?;
    if args.spare > 0 && args.replicas.is_none() {
        let all = replicas + args.spare;
        let formula = format!("{replicas} + {}", args.spare);
        steps.push(Step::new("replicas with spare", formula, all.to_string(), f64::from(all)));
    }
    Ok(steps)
}

fn needed(args: &Args, demand: Demand, steps: &mut Vec<Step>) -> Result<u32, Wrong> {
    let places = places_for(demand, args.wait, args.few)?;
    let replicas = places.div_ceil(args.slots);
    let formula = format!(
        "least c with P(Wq > {}) ≤ {}: c = {places} places; ⌈{places} / {}⌉",
        time(args.wait),
        plain(args.few),
        args.slots
    );
    steps.push(Step::new("replicas needed", formula, replicas.to_string(), f64::from(replicas)));
    Ok(replicas)
}

fn waiting(args: &Args, demand: Demand, c: u32, steps: &mut Vec<Step>) -> Result<(), Wrong> {
    let Waiting { load: a, use_, waits, mean, queue } = erlang_c(demand, c)?;
    let a_text = trimmed(a, 3);
    let formula = format!("ρ = A / c = {a_text} / {c}");
    steps.push(Step::new("places in use", formula, percent(use_), use_));
    let formula = format!(
        "Erlang C: [Aᶜ/c! · c/(c−A)] / [Σₖ₌₀..c−1 Aᵏ/k! + the same], A = {a_text}, c = {c}"
    );
    steps.push(Step::new("wait at all", formula, percent(waits), waits));
    let formula = format!(
        "Wq = P(wait) / (cμ − λ) = {} / ({c} / {} − {}/s)",
        trimmed(waits, 4),
        time(args.takes),
        trimmed(args.rate, 3)
    );
    steps.push(Step::new("mean wait", formula, time(mean), mean.as_secs_f64()));
    let late = waits_longer(demand, c, args.wait)?;
    let formula = format!("P(wait) · e^(−(cμ − λ) · {})", time(args.wait));
    let what = format!("wait longer than {}", time(args.wait));
    steps.push(Step::new(&what, formula, percent(late), late));
    let formula = format!("Lq = λ · Wq = {}/s · {}", trimmed(args.rate, 3), time(mean));
    steps.push(Step::new("waiting on average", formula, trimmed(queue, 2), queue));
    Ok(())
}
