//! Load by itself: `load URL [RATE|cN] [SECONDS] [MODEL] [stream]`, where RATE is requests
//! per second and cN is N connections, each with one request under way.

use evenkeel_drill::load::{Arrivals, Bar, LoadSettings, Mode, run};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("usage: load URL [RATE|cN] [SECONDS] [MODEL] [stream]")?;
    let pace = args.next().unwrap_or_else(|| "c8".into());
    let seconds: u64 = args.next().unwrap_or_else(|| "10".into()).parse()?;
    let mode = match pace.strip_prefix('c') {
        Some(connections) => Mode::Closed { connections: connections.parse()? },
        None => {
            Mode::Open { rate: pace.parse()?, arrivals: Arrivals::Poisson, max_in_flight: 1_000 }
        }
    };
    let settings = LoadSettings {
        url,
        mode,
        model: args.next().unwrap_or_else(|| "evenkeel-demo".into()),
        duration: Some(Duration::from_secs(seconds)),
        stream: args.next().is_some(),
        ..LoadSettings::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(run(settings, &Bar::new(), async {
        let _ = tokio::signal::ctrl_c().await;
    }))?;
    print!("{}", report.table());
    Ok(())
}
