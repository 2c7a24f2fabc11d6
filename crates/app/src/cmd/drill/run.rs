//! `evenkeel drill run`.

use super::{AdminArgs, fail, file, refused, subject};
use crate::cmd::admin;
use crate::config::replicas;
use evenkeel_drill::plan::{Mark, MarkKind};
use evenkeel_drill::report::DrillReport;
use evenkeel_drill::run::{Run, RunError, run as carry_out};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `evenkeel drill run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file, or the name of a ready one (`evenkeel drill list`)
    drill: PathBuf,
    /// Where clients connect [default: as the file says, or ./evenkeel.toml, or 127.0.0.1:8080]
    #[arg(long)]
    url: Option<String>,
    /// The service it is about, instead of the file's
    #[arg(long)]
    service: Option<String>,
    /// Write the report as one HTML file here [default: evenkeel-drill-NAME.html]
    #[arg(long)]
    html: Option<PathBuf>,
    /// Write no HTML
    #[arg(long, conflicts_with = "html")]
    no_html: bool,
    /// Write JUnit XML to this file
    #[arg(long)]
    junit: Option<PathBuf>,
    /// Write the report as JSON to this file
    #[arg(long)]
    output: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, asked: AdminArgs) -> ExitCode {
    let mut found = match file::load(&args.drill) {
        Ok(found) => found,
        Err(errors) => return refused(&errors),
    };
    if let Some(service) = &args.service {
        found.drill.target.service.clone_from(service);
    }
    let url = match (&args.url, found.drill.load.url.as_str()) {
        (Some(url), _) => url.clone(),
        (None, "") => admin::clients(),
        (None, url) => url.to_owned(),
    };
    let key = match found.drill.load.key_file.as_str() {
        "" => None,
        path => match replicas::read_secret(Path::new(path)) {
            Ok(key) => Some(key.expose().to_owned()),
            Err(why) => return refused(&format!("{}: load.key_file: {why}", found.shown)),
        },
    };
    let client = match asked.client() {
        Ok(client) => client,
        Err(why) => return refused(&format!("evenkeel: {why}")),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let run = Run { name: found.name, drill: found.drill, text: found.text, url, key };
    let subject = Arc::new(subject::Running::new(client));
    let ran = runtime.block_on(carry_out(run, subject, &say, interrupted()));
    match ran {
        Ok(report) => show(&args, &report),
        Err(RunError::Refused(whys)) => {
            whys.iter().for_each(|why| eprintln!("{}: {why}", found.shown));
            ExitCode::from(super::BAD_CONFIG)
        }
        Err(RunError::Load(error)) => refused(&format!("{}: load: {error}", found.shown)),
    }
}

/// Ready when a person or the system wants an end.
async fn interrupted() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => terminate.recv().await,
            // Without a handler it ends at once, and its faults with it.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate => {}
    }
}

/// A line as it happens, on standard error.
fn say(mark: &Mark) {
    let what = match mark.kind {
        MarkKind::Phase => "phase",
        MarkKind::Fault => "FAULT",
        MarkKind::Removed => "removed",
        MarkKind::Detected => "detected",
        MarkKind::Recovered => "recovered",
        MarkKind::Event => "",
        MarkKind::Aborted => "ABORTED",
    };
    let text: String = mark.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // A full disk or a closed pipe there must not end the drill.
    let _ = writeln!(std::io::stderr(), "{:7.1} s  {what:9}  {text}", mark.at_ms as f64 / 1e3);
}

fn show(args: &Args, report: &DrillReport) -> ExitCode {
    if args.json {
        println!("{}", report.to_json());
    } else {
        print!("{}", report.table());
    }
    let html = match args.no_html {
        true => None,
        false => Some(
            args.html
                .clone()
                .unwrap_or_else(|| format!("evenkeel-drill-{}.html", report.name).into()),
        ),
    };
    let files: [(Option<&PathBuf>, &dyn Fn() -> String); 3] = [
        (html.as_ref(), &|| report.html()),
        (args.junit.as_ref(), &|| report.junit()),
        (args.output.as_ref(), &|| report.to_json()),
    ];
    for (path, text) in files {
        let Some(path) = path else { continue };
        if let Err(error) = std::fs::write(path, text()) {
            return fail(&format!(
                "{}: cannot be written: {error}; give another place with --html, --junit or --output",
                path.display()
            ));
        }
        eprintln!("evenkeel: wrote {}", path.display());
    }
    ExitCode::from(report.verdict.code())
}
