//! What there is.

use super::{fail, refused};
use evenkeel_drill::plan::Drill;
use evenkeel_drill::{catalogue, fault};
use std::process::ExitCode;

pub(super) fn drills() -> ExitCode {
    let widest = catalogue::ALL.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, text) in catalogue::ALL {
        let about = toml::from_str::<Drill>(text).map(|drill| drill.about).unwrap_or_default();
        println!("{name:widest$}  {about}");
    }
    ExitCode::SUCCESS
}

pub(super) fn show(name: &str) -> ExitCode {
    match catalogue::file(name) {
        Some(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        None => refused(&format!(
            "evenkeel: there is no ready drill `{name}`; `evenkeel drill list` lists them"
        )),
    }
}

pub(super) fn faults() -> ExitCode {
    let all = fault::all();
    let widest = all.iter().map(|fault| fault.name.len()).max().unwrap_or(0);
    for fault in all {
        println!("{:widest$}  {:8}  {}", fault.name, fault.of, fault.example);
    }
    ExitCode::SUCCESS
}

pub(super) fn schema() -> ExitCode {
    match serde_json::to_string_pretty(&schemars::schema_for!(Drill)) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}
