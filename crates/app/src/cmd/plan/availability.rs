//! `evenkeel plan availability`.

use super::units::{available, plain, share, time};
use super::{Step, Steps, Wrong};
use evenkeel_slo::availability::{YEAR, allowed, by_means, nines};
use evenkeel_slo::structure::{Reality, k_of_n, of_replicas, series};
use std::time::Duration;

/// Arguments of `evenkeel plan availability`.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Args {
    /// Availability of one replica, such as 99% or 0.99
    #[arg(short, long, value_parser = share, conflicts_with_all = ["mtbf", "mttr"])]
    availability: Option<f64>,
    /// … or its mean time up between failures, such as 30d
    #[arg(long, value_parser = humantime::parse_duration, requires = "mttr")]
    mtbf: Option<Duration>,
    /// … and its mean time to repair, such as 2h
    #[arg(long, value_parser = humantime::parse_duration, requires = "mtbf")]
    mttr: Option<Duration>,
    /// How many replicas there are
    #[arg(short = 'n', long, default_value_t = 1)]
    replicas: u32,
    /// How many of them are needed
    #[arg(short = 'k', long, default_value_t = 1)]
    need: u32,
    /// Share of failures that hit all replicas at once: a bad release, the network; 0.01 to
    /// 0.1 is usual
    #[arg(long, value_parser = share, default_value = "0.05")]
    beta: f64,
    /// Probability that a failure is noticed and routed around
    #[arg(long, value_parser = share, default_value = "0.99")]
    coverage: f64,
    /// What is needed besides, each with its availability; may be given several times
    #[arg(short, long, value_parser = share)]
    series: Vec<f64>,
    /// What is promised: says what that allows
    #[arg(short, long, value_parser = share)]
    objective: Option<f64>,
    /// The time for which it is promised
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30d")]
    window: Duration,
    /// As JSON
    #[arg(long)]
    pub(in super::super) json: bool,
}

pub(super) fn steps(args: &Args) -> Steps {
    let mut steps = Vec::new();
    let one = one_replica(args, &mut steps)?;
    let mut whole = one;
    if let Some(one) = one.filter(|_| args.replicas != 1 || args.need != 1) {
        whole = Some(replicas(args, one, &mut steps)?);
    }
    if !args.series.is_empty() {
        let parts: Vec<f64> = whole.iter().chain(&args.series).copied().collect();
        let all = series(&parts)?;
        let product: Vec<String> = parts.iter().map(|part| plain(*part)).collect();
        let formula = format!("∏A = {} = {}", product.join(" · "), plain(all));
        steps.push(Step::new("all in series", formula, available(all), all));
        whole = Some(all);
    }
    if let Some(a) = whole {
        let n = nines(a)?;
        let formula = format!("−log₁₀(1 − A) = −log₁₀({:.3e})", 1.0 - a);
        steps.push(Step::new("nines", formula, format!("{n:.2}"), n));
    }
    if let Some(objective) = args.objective {
        promised(args, objective, whole, &mut steps)?;
    }
    match steps.is_empty() {
        true => Err(Wrong::input(
            "nothing to plan: give --availability, or --mtbf and --mttr, or --series, or --objective",
        )),
        false => Ok(steps),
    }
}

fn one_replica(args: &Args, steps: &mut Vec<Step>) -> Result<Option<f64>, Wrong> {
    if let (Some(mtbf), Some(mttr)) = (args.mtbf, args.mttr) {
        let a = by_means(mtbf, mttr)?;
        let formula = format!(
            "MTBF / (MTBF + MTTR) = {0} / ({0} + {1}) = {2}",
            time(mtbf),
            time(mttr),
            plain(a)
        );
        steps.push(Step::new("one replica", formula, available(a), a));
        return Ok(Some(a));
    }
    if let Some(a) = args.availability {
        steps.push(Step::new("one replica", "as given".into(), available(a), a));
    }
    Ok(args.availability)
}

fn replicas(args: &Args, one: f64, steps: &mut Vec<Step>) -> Result<f64, Wrong> {
    let (k, n) = (args.need, args.replicas);
    let ideal = k_of_n(k, n, one)?;
    let formula = format!(
        "Σⱼ₌₀..{} C({n}, j) · {}ⁿ⁻ʲ · {}ʲ = {}",
        n - k,
        plain(one),
        plain(1.0 - one),
        plain(ideal)
    );
    let what = format!("{k} of {n}, independent, perfect switch");
    steps.push(Step::new(&what, formula, available(ideal), ideal));
    let reality = Reality { common: args.beta, coverage: args.coverage };
    let real = of_replicas(k, n, one, reality)?;
    let (q, beta, c) = (1.0 - one, args.beta, args.coverage);
    let formula = format!(
        "(1 − βq) · Σⱼ₌₀..{} C({n}, j) · aⁿ⁻ʲ · (1 − a)ʲ · cʲ, q = {}, β = {}, c = {}, a = 1 − (1 − \
         β)q = {} → {}",
        n - k,
        plain(q),
        plain(beta),
        plain(c),
        plain(1.0 - (1.0 - beta) * q),
        plain(real)
    );
    let what = format!("{k} of {n}, common cause and coverage");
    steps.push(Step::new(&what, formula, available(real), real));
    Ok(real)
}

fn promised(
    args: &Args,
    objective: f64,
    whole: Option<f64>,
    steps: &mut Vec<Step>,
) -> Result<(), Wrong> {
    for (name, period) in [("budget of the window", args.window), ("budget of a year", YEAR)] {
        let budget = allowed(objective, period)?;
        let formula = format!("(1 − {}) · {} = {}", plain(objective), time(period), time(budget));
        steps.push(Step::new(name, formula, time(budget), budget.as_secs_f64()));
    }
    if let Some(a) = whole {
        let missing = 1.0 - objective;
        let used = if missing > 0.0 { (1.0 - a) / missing } else { f64::INFINITY };
        let word = if a >= objective { "kept on average" } else { "not kept" };
        let formula = format!("(1 − {}) / (1 − {}) = {used:.3}", plain(a), plain(objective));
        let result = format!("{:.0} % used: {word}", used * 100.0);
        steps.push(Step::new("budget used", formula, result, used.min(f64::MAX)));
    }
    Ok(())
}
