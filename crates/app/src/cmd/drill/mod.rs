//! `evenkeel drill`: show that what is promised holds, with faults and load.

mod file;
mod list;
mod run;
mod subject;

use super::{AdminArgs, BAD_CONFIG, fail};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `evenkeel drill`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code of `run`: 0 all was as expected, 1 something was not, 2 it cannot \
                        be (a bad file, a missing need; nothing was begun), 3 it was broken off."
)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Carry one out: steady state, fault, detection, recovery
    Run(Box<run::Args>),
    /// Check a file; exit code 2 when it is wrong
    Check {
        /// The file, or the name of a ready one
        file: PathBuf,
    },
    /// List drills that are ready
    List,
    /// Print a ready one, to change and keep
    Show {
        /// Its name
        name: String,
    },
    /// List all faults
    Faults,
    /// Print the JSON schema of drill files, for editors
    Schema,
}

pub(super) fn run(args: Args) -> ExitCode {
    match args.what {
        What::Run(run) => run::run(*run, args.admin),
        What::Check { file } => match file::load(&file) {
            Ok(found) => {
                println!("{}: good", found.shown);
                ExitCode::SUCCESS
            }
            Err(why) => refused(&why),
        },
        What::List => list::drills(),
        What::Show { name } => list::show(&name),
        What::Faults => list::faults(),
        What::Schema => list::schema(),
    }
}

fn refused(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(BAD_CONFIG)
}
