//! Starts a broker: `serve HOST:PORT DATA_DIR [name=value]...`. Ends on Ctrl-C or SIGTERM.

use kohort_broker::Broker;
use std::io::Write as _;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let usage = "serve HOST:PORT DATA_DIR [name=value]...";
    let (Some(listen), Some(data)) = (arguments.next(), arguments.next()) else {
        return Err(usage.into());
    };
    let mut builder = Broker::builder().listen(listen).data_dir(data);
    for setting in arguments {
        let (name, value) = setting.split_once('=').ok_or(usage)?;
        builder = builder.set(name, value);
    }
    let broker = builder.start().await?;
    writeln!(std::io::stdout(), "broker ready on {}", broker.local_addr())?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        failure = broker.failed() => return Err(failure.into()),
    }
    broker.shutdown().await?;
    Ok(())
}
