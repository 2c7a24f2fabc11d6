//! A keeper in miniature: what the tests start, so that they can kill it.
//!
//! `keeper guard [--] NAME` is the guard. `keeper run LOG_DIR SPECS` supervises the
//! specs (a JSON array) until it is killed, and prints every change of the statuses as
//! a JSON line. Each instance counts as ready as soon as it has a pid.

use std::ffi::OsString;
use std::process::ExitCode;

use evenkeel_domain::orchestrator::Phase;
use evenkeel_supervisor::{GuardArgs, RestartPolicy, Supervisor, SupervisorSettings, guard_main};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["guard", ..] => guard_main(GuardArgs::default()),
        ["run", log_dir, specs] => match run(log_dir, specs) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        _ => ExitCode::from(2),
    }
}

fn run(log_dir: &str, specs: &str) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let settings = SupervisorSettings {
            guard_command: ["/proc/self/exe", "guard"].map(OsString::from).to_vec(),
            log_dir: log_dir.into(),
            restart: RestartPolicy::default(),
        };
        let supervisor = Supervisor::new(settings, evenkeel_domain::rng::from_os())?;
        supervisor.apply(serde_json::from_str(specs)?)?;
        let mut statuses = supervisor.subscribe();
        loop {
            let all = statuses.borrow_and_update().clone();
            println!("{}", serde_json::to_string(&all)?);
            for status in all {
                if status.pid.is_some() && matches!(status.phase, Phase::Starting { .. }) {
                    supervisor.mark_ready(&status.name, status.incarnation)?;
                }
            }
            statuses.changed().await?;
        }
    })
}
