//! Completion scripts and the manual page, made from the command line's own description.

use super::{Cli, fail};
use clap::CommandFactory;
use std::process::ExitCode;

/// Arguments of `evenkeel completions`.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionArgs {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn completions(args: &CompletionArgs) -> ExitCode {
    clap_complete::generate(args.shell, &mut Cli::command(), "evenkeel", &mut std::io::stdout());
    ExitCode::SUCCESS
}

pub(super) fn man() -> ExitCode {
    let command = Cli::command();
    match clap_mangen::Man::new(command).render(&mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}
