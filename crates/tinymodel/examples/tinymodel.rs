//! The built-in model by itself: `tinymodel --port 8000 --slots 4 --queue 64 --pace-ms 20`.

use std::time::Duration;

use evenkeel_tinymodel::{Settings, serve};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = Settings::default();
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value: u64 = args.next().ok_or("each flag has a value")?.parse()?;
        let millis = Duration::from_millis(value);
        match name.as_str() {
            "--port" => settings.listen.set_port(u16::try_from(value)?),
            "--slots" => settings.slots = usize::try_from(value)?,
            "--queue" => settings.queue = usize::try_from(value)?,
            "--pace-ms" => settings.token_interval = millis,
            "--first-ms" => settings.first_token = millis,
            "--load-ms" => settings.load_time = millis,
            "--seed" => settings.seed = value,
            other => return Err(format!("unknown flag {other}").into()),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(settings.listen).await?;
        println!("listening on {}", listener.local_addr()?);
        serve(settings, listener, tokio::signal::ctrl_c()).await
    })?;
    Ok(())
}
