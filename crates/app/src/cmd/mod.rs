//! The command line. One file per command.

mod admin;
mod agent;
mod alert;
mod audit;
mod check;
mod degrade;
mod demo;
mod drill;
mod incident;
mod init;
mod job;
mod key;
mod load;
mod logs;
mod model;
mod node;
mod pages;
mod plan;
mod process;
mod replica;
mod scale;
mod slo;
mod status;
mod times;
mod up;

use admin::AdminArgs;
use clap::{Parser, Subcommand};
use evenkeel_admin::{AdminClient, ClientError};
use std::process::ExitCode;

/// Exit code for a configuration that is wrong.
const BAD_CONFIG: u8 = 2;

/// Keeps AI model services answering.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, about, max_term_width = 100, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve from a configuration file
    Up(up::Args),
    /// Try it out: three replicas of the built-in model behind a gateway, on loopback
    Demo(demo::Args),
    /// Write a first configuration
    Init(init::Args),
    /// Check a configuration file; exit code 2 when it is wrong
    Check(check::Args),
    /// Look at the configuration's shape
    #[command(subcommand)]
    Config(check::ConfigCommand),
    /// Show services and replicas: health and why, load, latencies
    Status(Asking<status::Args>),
    /// Show what services promised and kept: availability, error budgets, burn rates
    Slo(Asking<slo::Args>),
    /// Plan availability, capacity and recovery: each figure with its formula
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Drain, isolate or restart a replica
    Replica(Asking<replica::Args>),
    /// Have a service do less by hand, or leave that to what is measured
    Degrade(Asking<degrade::Args>),
    /// Have so many copies of a service run by hand, or leave that to what is measured
    Scale(Asking<scale::Args>),
    /// List and show commands that must reach their end; restart or stop one
    Job(Asking<job::Args>),
    /// List, show and plan what is done about replicas that do not serve; approve or force it
    Incident(Asking<incident::Args>),
    /// List alerts, acknowledge and silence them; try the ways they go
    Alert(alert::Args),
    /// Explain a replica's state: evidence, what was done, what to do next
    Why(Asking<incident::WhyArgs>),
    /// Have nothing done about a replica, a service or everything for a time
    Pause(Asking<incident::PauseArgs>),
    /// End a pause
    Resume(Asking<incident::ResumeArgs>),
    /// Check that the journal of what was done is as it was written
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Show what a supervised replica writes
    Logs(Asking<logs::Args>),
    /// Read the configuration again
    Reload(Asking<process::Args>),
    /// Hand over to a new binary (or a new process of this one) without dropping anything
    Upgrade(Asking<process::UpgradeArgs>),
    /// Drain and stop a running Evenkeel
    Stop(Asking<process::Args>),
    /// Let other hosts run replicas and jobs
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Run replicas and jobs of this host for an Evenkeel on another one
    Agent(agent::Args),
    /// Make, list and revoke the keys that clients show
    Key(key::Args),
    /// Drive an endpoint with requests and judge every answer
    Load(Box<load::Args>),
    /// Put faults in the way of a running Evenkeel under load, and say what came of it
    Drill(drill::Args),
    /// Serve the built-in model by itself
    Model(model::Args),
    /// Print a completion script for a shell
    Completions(pages::CompletionArgs),
    /// Print the manual page
    Man,
    /// The process that serves clients; started by `up`
    #[command(hide = true)]
    Gateway,
    /// The process that holds a drill's fault, and removes it; started by `drill run`
    #[command(hide = true)]
    DrillGuard {
        /// What it does, as JSON.
        order: String,
    },
    /// The process that watches one supervised replica; started by `up`
    #[command(hide = true)]
    Guard {
        /// Shown in process lists.
        label: Option<String>,
    },
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(self) -> ExitCode {
        match self.command {
            Command::Guard { label } => {
                evenkeel_supervisor::guard_main(evenkeel_supervisor::GuardArgs { label })
            }
            Command::DrillGuard { order } => evenkeel_drill::fault::guard::guard_main(&order),
            Command::Gateway => crate::gateway::main(),
            Command::Up(args) => up::run(args),
            Command::Demo(args) => demo::run(args),
            Command::Init(args) => init::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Config(command) => check::config(&command),
            Command::Status(asking) => asking.run(async |a, c| status::run(a, &c).await),
            Command::Slo(asking) => asking.run(async |a, c| slo::run(a, &c).await),
            Command::Plan(command) => plan::run(command),
            Command::Replica(asking) => asking.run(async |a, c| replica::run(a, &c).await),
            Command::Degrade(asking) => asking.run(async |a, c| degrade::run(a, &c).await),
            Command::Scale(asking) => asking.run(async |a, c| scale::run(a, &c).await),
            Command::Job(asking) => asking.run(async |a, c| job::run(a, &c).await),
            Command::Incident(asking) => asking.run(async |a, c| incident::run(a, &c).await),
            Command::Alert(args) => alert::run(args),
            Command::Why(asking) => asking.run(async |a, c| incident::why(a, &c).await),
            Command::Pause(asking) => asking.run(async |a, c| incident::pause(a, &c).await),
            Command::Resume(asking) => asking.run(async |a, c| incident::resume(a, &c).await),
            Command::Audit(command) => audit::run(command),
            Command::Logs(asking) => asking.run(async |a, c| logs::run(a, &c).await),
            Command::Reload(asking) => asking.run(async |a, c| process::reload(a, &c).await),
            Command::Upgrade(asking) => asking.run(async |a, c| process::upgrade(a, &c).await),
            Command::Stop(asking) => asking.run(async |a, c| process::stop(a, &c).await),
            Command::Node(command) => node::run(&command),
            Command::Agent(args) => agent::run(args),
            Command::Key(args) => key::run(&args),
            Command::Drill(args) => drill::run(args),
            Command::Load(args) => load::run(*args),
            Command::Model(args) => model::run(args),
            Command::Completions(args) => pages::completions(&args),
            Command::Man => pages::man(),
        }
    }
}

/// A command that asks a running Evenkeel.
#[derive(Debug, clap::Args)]
struct Asking<T: clap::Args> {
    #[command(flatten)]
    args: T,
    #[command(flatten)]
    admin: AdminArgs,
}

impl<T: clap::Args> Asking<T> {
    fn run(
        self,
        command: impl AsyncFnOnce(T, AdminClient) -> Result<ExitCode, ClientError>,
    ) -> ExitCode {
        let client = match self.admin.client() {
            Ok(client) => client,
            Err(error) => return fail(&error),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime.map(|runtime| runtime.block_on(command(self.args, client))) {
            Ok(Ok(code)) => code,
            Ok(Err(error)) => fail(&error),
            Err(error) => fail(&error),
        }
    }
}

/// One line to the person, and a non-zero exit code.
fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("evenkeel: {error}");
    ExitCode::FAILURE
}
