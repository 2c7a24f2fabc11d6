//! `evenkeel plan recovery`.

use super::super::slo::render::percent;
use super::units::{bytes, bytes_rate, time};
use super::{AdminArgs, Step, Steps, Wrong};
use evenkeel_admin::view::{ServiceSlo, SpreadView};
use evenkeel_slo::recovery::{Phases, checkpoint_cost, checkpoint_interval, rpo, rpo_bytes, rto};
use std::time::Duration;

/// Arguments of `evenkeel plan recovery`.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Args {
    /// Until a failure is known
    #[arg(long, value_parser = humantime::parse_duration)]
    detect: Option<Duration>,
    /// Until it is known what to do
    #[arg(long, value_parser = humantime::parse_duration)]
    decide: Option<Duration>,
    /// Until it is restored: a restart, a standby, a backup
    #[arg(long, value_parser = humantime::parse_duration)]
    restore: Option<Duration>,
    /// Until it is known to have helped
    #[arg(long, value_parser = humantime::parse_duration)]
    verify: Option<Duration>,
    /// Time between recovery points: backups, checkpoints
    #[arg(long, value_parser = humantime::parse_duration)]
    every: Option<Duration>,
    /// Until a copy is where it is safe
    #[arg(long, value_parser = humantime::parse_duration, requires = "every")]
    copy_lag: Option<Duration>,
    /// What is written: 5000 (bytes a second), 10MB/s or 1GiB/h
    #[arg(long, value_parser = bytes_rate, requires = "every")]
    change_rate: Option<f64>,
    /// Time between failures, for how often to save
    #[arg(long, value_parser = humantime::parse_duration, requires = "save")]
    mtbf: Option<Duration>,
    /// How long a checkpoint takes, for how often to save
    #[arg(long, value_parser = humantime::parse_duration)]
    save: Option<Duration>,
    /// Take what is not given from what a running Evenkeel has measured of this service
    #[arg(long, value_name = "SERVICE")]
    measured: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(in super::super) json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn steps(mut args: Args) -> Steps {
    let mut steps = Vec::new();
    if let Some(service) = args.measured.clone() {
        let measured = ask(&args, &service)?;
        take(&mut args, &measured, &mut steps);
    }
    if args.save.is_some() && args.mtbf.is_none() {
        return Err(Wrong::input("--save: needs --mtbf, the time between failures"));
    }
    time_objective(&args, &mut steps);
    point_objective(&args, &mut steps)?;
    checkpoints(&args, &mut steps)?;
    match steps.is_empty() {
        true => Err(Wrong::input(
            "nothing to plan: give --detect, --restore and the like, or --every, or --mtbf and \
             --save, or --measured SERVICE",
        )),
        false => Ok(steps),
    }
}

fn ask(args: &Args, service: &str) -> Result<ServiceSlo, Wrong> {
    let asked = |text: String| Wrong::Asking(text);
    let client = args.admin.clone().client().map_err(asked)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| asked(error.to_string()))?;
    let view = runtime.block_on(client.slo()).map_err(|error| asked(error.to_string()))?;
    let found = view.services.into_iter().find(|known| known.service == service);
    found.ok_or_else(|| {
        Wrong::input(format!("--measured: there is no service `{service}`; see `evenkeel status`"))
    })
}

/// Takes what was measured where nothing was given: nine in ten, since a mean misleads.
fn take(args: &mut Args, measured: &ServiceSlo, steps: &mut Vec<Step>) {
    let mut told = |what: &str, spread: &Option<SpreadView>| {
        let spread = spread.as_ref()?;
        let p90 = Duration::try_from_secs_f64(spread.p90_seconds).ok()?;
        let max = Duration::try_from_secs_f64(spread.max_seconds).unwrap_or_default();
        let formula = format!("90th percentile of {}; the longest {}", spread.count, time(max));
        steps.push(Step::new(what, formula, time(p90), p90.as_secs_f64()));
        Some(p90)
    };
    let detect = told("measured until known", &measured.detect);
    let repair = told("measured until it served", &measured.repair);
    args.detect = args.detect.or(detect);
    // What is measured ends when it serves: the time until it is known lies within.
    let rest = repair.map(|whole| whole.saturating_sub(detect.unwrap_or_default()));
    args.restore = args.restore.or(rest);
    let between = measured.between.as_ref();
    let half = between.and_then(|b| Duration::try_from_secs_f64(b.p50_seconds).ok());
    if args.save.is_some() && args.mtbf.is_none() {
        args.mtbf = half;
    }
}

fn time_objective(args: &Args, steps: &mut Vec<Step>) {
    let all = [args.detect, args.decide, args.restore, args.verify];
    if all.iter().all(Option::is_none) {
        return;
    }
    let [detect, decide, restore, verify] = all.map(Option::unwrap_or_default);
    let whole = rto(Phases { detect, decide, restore, verify });
    let parts = [detect, decide, restore, verify].map(time).join(" + ");
    let formula = format!("detect + decide + restore + verify = {parts}");
    steps.push(Step::new("recovery time (RTO)", formula, time(whole), whole.as_secs_f64()));
}

fn point_objective(args: &Args, steps: &mut Vec<Step>) -> Result<(), Wrong> {
    let Some(every) = args.every else { return Ok(()) };
    let lag = args.copy_lag.unwrap_or_default();
    let lost = rpo(every, lag);
    let formula = format!("between points + copy lag = {} + {}", time(every), time(lag));
    steps.push(Step::new("recovery point (RPO)", formula, time(lost), lost.as_secs_f64()));
    if let Some(rate) = args.change_rate {
        let n = rpo_bytes(lost, rate)? as f64;
        let formula = format!("RPO · change rate = {} · {}/s", time(lost), bytes(rate));
        steps.push(Step::new("recovery point in bytes", formula, bytes(n), n));
    }
    Ok(())
}

fn checkpoints(args: &Args, steps: &mut Vec<Step>) -> Result<(), Wrong> {
    let (Some(fail), Some(save)) = (args.mtbf, args.save) else { return Ok(()) };
    let every = checkpoint_interval(fail, save)?;
    let formula = format!("√(2 · T_fail · T_save) = √(2 · {} · {})", time(fail), time(save));
    steps.push(Step::new("save every (Young)", formula, time(every), every.as_secs_f64()));
    let cost = checkpoint_cost(every, fail, save)?;
    let formula =
        format!("T_save/T + T/(2 · T_fail), T = {}: saving, and doing again", time(every));
    steps.push(Step::new("what that costs", formula, percent(cost.min(1.0)), cost));
    Ok(())
}
