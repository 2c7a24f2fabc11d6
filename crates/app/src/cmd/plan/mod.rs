//! `evenkeel plan`: the arithmetic of availability, each figure with its formula.
//!
//! Reads nothing but its flags, but for `recovery --measured`, which asks a running Evenkeel.

mod availability;
mod capacity;
mod recovery;
mod units;

use super::{AdminArgs, BAD_CONFIG};
use evenkeel_slo::Bad;
use serde::Serialize;
use std::process::ExitCode;

/// What is planned.
#[derive(Debug, clap::Subcommand)]
pub(super) enum PlanCommand {
    /// How available something is that is built of parts
    Availability(availability::Args),
    /// How many replicas a load needs
    Capacity(capacity::Args),
    /// How long a recovery takes, what it loses, how often to save
    Recovery(recovery::Args),
}

/// A figure and how it came about.
#[derive(Debug, Serialize)]
struct Step {
    /// What it is.
    what: String,
    /// The formula with its numbers.
    formula: String,
    /// The figure, for people.
    result: String,
    /// The same as a number: a share, seconds, bytes or a count.
    value: f64,
}

impl Step {
    fn new(what: &str, formula: String, result: String, value: f64) -> Self {
        Self { what: what.to_owned(), formula, result, value }
    }
}

/// Figures, or what is wrong with the flags.
type Steps = Result<Vec<Step>, Wrong>;

/// Why there are none.
#[derive(Debug)]
enum Wrong {
    /// The flags make no sense.
    Input(String),
    /// A running Evenkeel could not be asked.
    Asking(String),
}

impl From<Bad> for Wrong {
    fn from(bad: Bad) -> Self {
        // The flag's name as it was given.
        let flag = bad.name.replace('_', "-");
        Self::Input(format!("--{flag}: {}", bad.why))
    }
}

impl Wrong {
    fn input(text: impl Into<String>) -> Self {
        Self::Input(text.into())
    }
}

/// Shows it. The exit code is 2 where the flags make no sense.
pub(super) fn run(command: PlanCommand) -> ExitCode {
    let (steps, json) = match command {
        PlanCommand::Availability(args) => (availability::steps(&args), args.json),
        PlanCommand::Capacity(args) => (capacity::steps(&args), args.json),
        PlanCommand::Recovery(args) => {
            let json = args.json;
            (recovery::steps(args), json)
        }
    };
    match steps {
        Ok(steps) if json => {
            println!("{}", serde_json::to_string_pretty(&steps).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Ok(steps) => {
            print!("{}", shown(&steps));
            ExitCode::SUCCESS
        }
        Err(Wrong::Input(text)) => {
            eprintln!("evenkeel: {text}");
            ExitCode::from(BAD_CONFIG)
        }
        Err(Wrong::Asking(text)) => super::fail(&text),
    }
}

/// One figure a line, its formula below.
fn shown(steps: &[Step]) -> String {
    let width = steps.iter().map(|step| step.what.chars().count()).max().unwrap_or(0);
    let one = |step: &Step| {
        let pad = width - step.what.chars().count();
        format!("{}{:pad$}  {}\n{:width$}    {}\n", step.what, "", step.result, "", step.formula)
    };
    steps.iter().map(one).collect()
}
