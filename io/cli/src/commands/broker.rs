//! `kohort broker`: the broker as a process.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use kohort_broker::Broker;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::name_value;
use crate::log_writer::LogWriter;
use crate::output::words_of;

/// Run the broker until SIGTERM or Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Take the broker's properties from a file, as Kafka's own server.properties
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, over `listeners`; port 0 picks a free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    listen: Option<String>,
    /// Folder that holds the log, over `log.dirs`; made if it does not exist [default: kohort-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Set a broker property under Kafka's name, over the file; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_value)]
    set: Vec<(String, String)>,
    /// How the log on stderr is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

fn host_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err("it is not HOST:PORT with a port of 0 to 65535".to_owned()),
    }
}

/// Serves until it is told to stop.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let log = start_log(args.log_format)?;
    raise_open_files_limit();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = processors.div_ceil(2).min(WORKERS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(BLOCKING_MAX)
        .enable_all()
        .build()
        .context("cannot start the runtime");
    let ended = runtime.and_then(|runtime| runtime.block_on(serve(args, &log)));
    // By way of the log: stderr may take nothing, and would not let the process end.
    let code = ended.unwrap_or_else(|error| {
        log.push(format!("kohort: {}\n", words_of(&error)).as_bytes());
        ExitCode::FAILURE
    });
    log.flush(FLUSH_PATIENCE);
    Ok(code)
}

/// How long the last words wait for whoever reads stderr. One that reads has them in milliseconds.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// Connections and segments are open files: takes as many as the system grants, as Java does.
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Half of the processors serve connections, since the log's threads, and a client on the same machine,
/// need some as well: two workers on two processors wake each other for what one does in passing. Beyond
/// a few the broker waits for the disk, not for a processor.
const WORKERS_MAX: usize = 8;

/// Threads that wait for the disk on behalf of readers. They come as readers need them and stay while
/// there are readers; more at once only wait for each other at the disk.
const BLOCKING_MAX: usize = 64;

async fn serve(args: Args, log: &LogWriter) -> anyhow::Result<ExitCode> {
    let mut builder = Broker::builder().log_lines_dropped(log.dropped());
    if let Some(path) = &args.config {
        let file = std::fs::read(path);
        let file = file.with_context(|| format!("cannot read {}", path.display()))?;
        builder = builder.properties(&file);
    }
    for (name, value) in &args.set {
        builder = builder.set(name, value);
    }
    if let Some(address) = &args.listen {
        builder = builder.listen(address);
    }
    if let Some(folder) = &args.data {
        builder = builder.data_dir(folder);
    }
    // Asked for before the broker is ready, so that no signal can fall between.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    // As Java does: the terminal it was started from is gone.
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    // A file that may not grow further is a full disk, of which writing tells; the signal would kill.
    let _file_size =
        signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).context("cannot listen for SIGXFSZ")?;
    let broker = builder.start().await.with_context(|| match &args.config {
        Some(path) => format!("cannot start with {}", path.display()),
        None => "cannot start".to_owned(),
    })?;
    // Whoever waits for the line on stdout finds on stderr what was said before.
    log.flush(FLUSH_PATIENCE);
    let mut stdout = std::io::stdout();
    let addresses = broker.local_addrs().iter().map(ToString::to_string).collect::<Vec<_>>();
    writeln!(stdout, "kohort broker ready on {}", addresses.join(","))
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout")?;
    // Losing the race drops a wait for a signal or for a fatal error, neither of which is consumed.
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
        failure = broker.failed() => bail!(failure),
    }
    tracing::info!("told to stop: answering what is in flight; a second signal ends at once");
    // Whichever comes second drops the other; what was acknowledged is on disk either way.
    tokio::select! {
        stopped = broker.shutdown() => stopped?,
        _ = terminate.recv() => forced(log),
        _ = interrupt.recv() => forced(log),
        _ = hangup.recv() => forced(log),
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends without a clean stop, as a crash would: the next start reads the write-ahead log.
fn forced(log: &LogWriter) -> ! {
    tracing::warn!("told again: ended without a clean stop; nothing acknowledged is lost");
    log.flush(FLUSH_PATIENCE);
    std::process::exit(FORCED)
}

/// What a shell makes of an end by SIGTERM.
const FORCED: i32 = 128 + 15;

/// Starts the log on stderr, of which no task waits for anything.
fn start_log(format: LogFormat) -> anyhow::Result<LogWriter> {
    let filter = EnvFilter::try_from_env("KOHORT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let tell_dropped = |lines| {
        tracing::warn!(
            lines,
            "lines of the log are missing: nobody took them from stderr; \
             kohort_log_lines_dropped_total counts them all"
        );
    };
    let log = LogWriter::start(std::io::stderr(), tell_dropped).context("cannot start the log")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log.clone())
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    // The usual words on stderr would wait for its reader.
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            tracing::error!(thread, %backtrace, "{panic}");
        } else {
            tracing::error!(thread, "{panic}");
        }
    }));
    Ok(log)
}
