//! `evenkeel load`: drive an endpoint and judge every answer.

use super::fail;
use evenkeel_drill::load::{
    Api, Arrivals, Bar, Expect, Header, LoadSettings, Mode, Report, Silent, run as drive,
};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `evenkeel load`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 when every answer was whole and right, 1 when not.")]
pub(super) struct Args {
    /// Base URL, or the full path
    #[arg(default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Requests per second, whatever the server does (open loop); latency counts from when
    /// each request should have been sent
    #[arg(short, long, conflicts_with_all = ["connections", "trace"])]
    rate: Option<f64>,
    /// Connections, each sending its next request after its last answer (closed loop)
    #[arg(short, long, default_value_t = 8)]
    connections: usize,
    /// Recorded trace to replay: CSV (TIMESTAMP,ContextTokens,GeneratedTokens) or JSON lines
    #[arg(long, conflicts_with = "connections")]
    trace: Option<PathBuf>,
    /// How many times faster than recorded
    #[arg(long, default_value_t = 1.0, requires = "trace")]
    speed: f64,
    /// Requests under way at most, for --rate and --trace
    #[arg(long, default_value_t = 1000)]
    max_in_flight: usize,
    /// Send at even distances instead of at random ones
    #[arg(long, requires = "rate")]
    even: bool,
    /// How long to send
    #[arg(short, long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// How many requests to send
    #[arg(short = 'n', long)]
    requests: Option<u64>,
    /// Send first for so long without counting
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// What the endpoint speaks: chat, completions or plain
    #[arg(long, default_value = "chat", value_parser = api)]
    api: Api,
    /// Ask for streams
    #[arg(short, long)]
    stream: bool,
    /// Model to ask for
    #[arg(short, long, default_value = "evenkeel-demo")]
    model: String,
    /// Bytes of a prompt
    #[arg(long, default_value_t = 200)]
    prompt_bytes: usize,
    /// Distinct prompts
    #[arg(long, default_value_t = 1)]
    prompts: usize,
    /// Tokens of an answer at most
    #[arg(long, default_value_t = 50)]
    max_tokens: u32,
    /// File to POST, for --api plain
    #[arg(long)]
    body: Option<PathBuf>,
    /// Header field of every request, as `name: value`
    #[arg(short = 'H', long, value_parser = header)]
    header: Vec<Header>,
    /// How long one answer may take
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// How often a request is tried again that was refused or met a fault, as OpenAI's
    /// libraries do
    #[arg(long, default_value_t = 0)]
    retries: u32,
    /// Authority to trust
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Speak HTTP/2
    #[arg(long)]
    h2: bool,
    /// All answers to the same prompt must be the same, at temperature 0
    #[arg(long, conflicts_with = "reference")]
    same: bool,
    /// All answers must be what this other server says, at temperature 0
    #[arg(long)]
    reference: Option<String>,
    /// Seed of arrivals and prompts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads that send
    #[arg(long)]
    workers: Option<usize>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Write the report as JSON to this file, too
    #[arg(long)]
    output: Option<PathBuf>,
}

fn api(text: &str) -> Result<Api, String> {
    match text {
        "chat" => Ok(Api::Chat),
        "completions" => Ok(Api::Completions),
        "plain" => Ok(Api::Plain),
        other => Err(format!("`{other}` is none of chat, completions, plain")),
    }
}

fn header(text: &str) -> Result<Header, String> {
    let (name, value) = text.split_once(':').ok_or("expected `name: value`")?;
    Ok(Header { name: name.trim().into(), value: value.trim().into() })
}

fn settings(args: &Args) -> LoadSettings {
    let max_in_flight = args.max_in_flight;
    let mode = match (&args.trace, args.rate) {
        (Some(path), _) => Mode::Trace { path: path.clone(), speed: args.speed, max_in_flight },
        (None, Some(rate)) => {
            let arrivals = if args.even { Arrivals::Even } else { Arrivals::Poisson };
            Mode::Open { rate, arrivals, max_in_flight }
        }
        (None, None) => Mode::Closed { connections: args.connections },
    };
    let defaults = LoadSettings::default();
    // Without an end of its own a run lasts as long as the default.
    let endless = args.duration.is_none() && args.requests.is_none() && args.trace.is_none();
    LoadSettings {
        url: args.url.clone(),
        mode,
        duration: if endless { defaults.duration } else { args.duration },
        requests: args.requests,
        warm_up: args.warm_up,
        api: args.api,
        stream: args.stream,
        model: args.model.clone(),
        prompt_bytes: args.prompt_bytes,
        prompts: args.prompts,
        max_tokens: args.max_tokens,
        body: args.body.clone(),
        headers: args.header.clone(),
        timeout: args.timeout,
        retries: args.retries,
        ca: args.ca.clone(),
        h2: args.h2,
        expect: match (&args.reference, args.same) {
            (Some(url), _) => Expect::Reference(url.clone()),
            (None, true) => Expect::First,
            (None, false) => Expect::Nothing,
        },
        seed: args.seed,
        workers: args.workers.unwrap_or(defaults.workers),
    }
}

pub(super) fn run(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let interrupted = async {
        // Without a handler Ctrl-C ends the process without a report.
        let _ = tokio::signal::ctrl_c().await;
    };
    let settings = settings(&args);
    let result = if args.json {
        runtime.block_on(drive(settings, &Silent, interrupted))
    } else {
        runtime.block_on(drive(settings, &Bar::new(), interrupted))
    };
    match result {
        Ok(report) => show(&args, &report),
        Err(error) => fail(&error),
    }
}

fn show(args: &Args, report: &Report) -> ExitCode {
    if args.json {
        println!("{}", report.to_json());
    } else {
        print!("{}", report.table());
    }
    if let Some(path) = &args.output
        && let Err(error) = std::fs::write(path, report.to_json())
    {
        return fail(&format!("{}: cannot be written: {error}", path.display()));
    }
    if report.totals.failed == 0 && report.totals.ok > 0 {
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}
