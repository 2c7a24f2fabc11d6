//! `evenkeel model`: the built-in model server by itself.

use super::fail;
use evenkeel_tinymodel::Settings;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `evenkeel model`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address to serve on
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Name of the model
    #[arg(long, default_value = "evenkeel-demo")]
    model: String,
    /// Requests answered at once
    #[arg(long, default_value_t = 16)]
    slots: usize,
    /// Requests that may wait for a slot
    #[arg(long, default_value_t = 256)]
    queue: usize,
    /// Time between two tokens, in milliseconds
    #[arg(long, default_value_t = 0)]
    pace: u64,
    /// Time to the first token, in milliseconds
    #[arg(long, default_value_t = 0)]
    first_token: u64,
    /// Time per token of the prompt, in microseconds
    #[arg(long, default_value_t = 0)]
    prefill: u64,
    /// Time until it is ready, in milliseconds
    #[arg(long, default_value_t = 0)]
    load_time: u64,
    /// Begin without the model, as a warm standby: POST /wake_up loads it, /sleep frees it
    #[arg(long)]
    unloaded: bool,
    /// Version of the model: servers with the same one answer alike
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn serve(args: Args) -> Result<(), String> {
    let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(|e| {
        format!("cannot listen on {}: {e}; choose another address with --listen", args.listen)
    })?;
    let settings = Settings {
        listen: args.listen,
        model: args.model,
        slots: args.slots,
        queue: args.queue,
        token_interval: Duration::from_millis(args.pace),
        first_token: Duration::from_millis(args.first_token),
        prefill_per_token: Duration::from_micros(args.prefill),
        load_time: Duration::from_millis(args.load_time),
        unloaded: args.unloaded,
        seed: args.seed,
        ..Settings::default()
    };
    let mut term = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut int = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    eprintln!("serving the built-in model `{}` on http://{address}", settings.model);
    let stopped = async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    };
    evenkeel_tinymodel::serve(settings, listener, stopped).await.map_err(|e| e.to_string())
}
