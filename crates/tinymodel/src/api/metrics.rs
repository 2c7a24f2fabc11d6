//! `GET /metrics`: load, under the names vLLM uses, since those are what gateways read.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;

use super::Answer;
use crate::app::App;
use crate::body::Reply;

/// The figures in Prometheus text.
pub(crate) fn metrics(app: &App) -> Answer {
    let stats = &app.slots.stats;
    let read = |value: &AtomicU64| value.load(Relaxed) as f64;
    let room = app.settings.slots.max(1) as f64 * app.settings.context.max(1) as f64;
    let cache = (read(&stats.cached_tokens) / room).min(1.0);
    let mut page = Page { out: String::with_capacity(2048), model: escaped(&app.settings.model) };
    page.one("num_requests_running", "gauge", "Requests that have a slot.", read(&stats.running));
    page.one(
        "num_requests_waiting",
        "gauge",
        "Requests that wait for a slot.",
        read(&stats.waiting),
    );
    page.one("kv_cache_usage_perc", "gauge", "Share of the context in use, 0 to 1.", cache);
    page.one("gpu_cache_usage_perc", "gauge", "The older name of kv_cache_usage_perc.", cache);
    page.one("prompt_tokens_total", "counter", "Prompt tokens read.", read(&stats.prompt_tokens));
    page.one("generation_tokens_total", "counter", "Tokens drawn.", read(&stats.generated_tokens));
    page.head("request_success_total", "counter", "Requests ended, by reason.");
    page.row("request_success_total", ",finished_reason=\"stop\"", read(&stats.ended_stop));
    page.row("request_success_total", ",finished_reason=\"length\"", read(&stats.ended_length));
    page.row("request_success_total", ",finished_reason=\"abort\"", read(&stats.aborted));
    page.one(
        "requests_refused_total",
        "counter",
        "Requests the queue had no room for.",
        read(&stats.refused),
    );
    Ok(Reply::text(StatusCode::OK, page.out))
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Page {
    out: String,
    model: String,
}

impl Page {
    // A String takes all that is written to it, so the results say nothing.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        _ = writeln!(self.out, "# HELP vllm:{name} {help}\n# TYPE vllm:{name} {kind}");
    }

    fn row(&mut self, name: &str, labels: &str, value: f64) {
        let model = &self.model;
        _ = writeln!(self.out, "vllm:{name}{{model_name=\"{model}\"{labels}}} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.row(name, "", value);
    }
}
