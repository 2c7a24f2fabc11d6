//! `evenkeel init`: a first configuration, commented.

use super::fail;
use crate::config;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `evenkeel init`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File to write
    #[arg(default_value = config::DEFAULT_FILE)]
    config: PathBuf,
    /// Base URL of a model server that runs already; may be given several times
    #[arg(long)]
    url: Vec<String>,
    /// The model's name, as clients ask for it
    #[arg(long, default_value = "*")]
    model: String,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let text = first_config(args);
    if let Err(errors) = config::parse(&args.config, &text) {
        return fail(&errors);
    }
    // Never over a file that is there: it may be the one that serves.
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(&args.config);
    let file = args.config.display();
    match opened.and_then(|mut out| out.write_all(text.as_bytes())) {
        Ok(()) => {
            println!("wrote {file}");
            println!("next: edit it, then `evenkeel check {file}` and `evenkeel up -c {file}`");
            ExitCode::SUCCESS
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fail(&format!("{file} exists and is left as it is; name another file"))
        }
        Err(error) => fail(&format!("{file}: cannot be written: {error}")),
    }
}

fn first_config(args: &Args) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let urls = match args.url.is_empty() {
        true => vec!["http://127.0.0.1:8000".to_owned()],
        false => args.url.clone(),
    };
    let replicas: String = urls
        .iter()
        .map(|url| format!("\n  [[service.replica]]\n  url = {}\n", quoted(url)))
        .collect();
    format!(
        r#"# Evenkeel's configuration. `evenkeel check` validates it, `evenkeel config schema`
# lists every key; what is left out has a safe default. A running Evenkeel takes a
# changed file over by itself, and a bad one changes nothing.

[gateway]
listen = "127.0.0.1:8080"        # where clients connect; "0.0.0.0:8080" for other machines
# tls = {{ cert = "cert.pem", key = "key.pem" }}
# keys = "keys.toml"             # ask clients for a key; `evenkeel key new ID` makes one

[admin]
listen = "127.0.0.1:9900"        # status, metrics; anything but loopback needs a token and TLS

# [trace]
# otlp = "http://127.0.0.1:4318" # spans of requests, for an OpenTelemetry collector
# sample = 0.01                  # share of those that no client records already

[[service]]
name = "chat"
models = [{model}]                   # the request's "model"; "*" for any
tier = "core"
balance = "least_requests"

  # What is promised; `evenkeel slo` shows what was kept.
  # [service.slo]
  # availability = 99.9            # percent of the time, and of the requests, over 30 days
  # latency = "2s"                 # how soon answers begin

  # How long things may take. A stream may last as long as `total`.
  [service.deadlines]
  first_byte = "120s"
  total = "15m"
{replicas}
  # Evenkeel can start and supervise replicas, too: they are restarted when they die.
  # [[service.replica]]
  # command = ["llama-server", "-m", "model.gguf", "--port", "{{port}}"]
  # copies = 2
  # env = {{ CUDA_VISIBLE_DEVICES = "{{index}}" }}
  # role = "standby"             # takes over when the others fail;
  # standby = "hot"              # or "warm" (with `load`), "cold": not started until then
  # startup_deadline = "10m"     # to answer for the first time; for a `url`, too

# Replicas with a `command` can run on other hosts: `evenkeel node new gpu-1 --address
# 10.0.0.7:9910` makes a bundle, with which `evenkeel agent` is started there.
# [[node]]
# name = "gpu-1"                   # then `node = "gpu-1"` in a [[service.replica]] or [[job]]
# address = "10.0.0.7:9910"
# orphan_after = "1h"              # stop what runs there without a keeper; never by default

# What is looked at beside replicas: disks, GPUs, databases, scripts of your own.
# [[check]]
# name = "models-disk"
# kind = "disk"
# path = "/models"
# critical = "95%"                 # said hours before, too; `forecast` acts on that

# Who is told when a person is needed; `evenkeel alert test -c FILE` tries it.
# [[channel]]
# name = "oncall"
# kind = "slack"                   # or webhook, pagerduty, alertmanager, email, command
# url_file = "/etc/evenkeel/slack" # the URL is a secret
"#,
        model = quoted(&args.model),
    )
}
