//! The broker's log on its way to stderr, which nobody waits for.
//!
//! ```text
//! tasks ──► queue (bounded) ──► one thread ──► stderr
//!             └─ full: the line is dropped, counted, and told of when lines get through again
//! ```
//!
//! Whoever reads stderr may be gone, its disk may be full, and a pipe whose reader rests takes nothing:
//! a task that wrote there itself would panic or stand still, and with it the groups or topics that it
//! serves. So only this thread meets stderr. What it cannot write is dropped and never tried again:
//! whatever is wrong, the lines that come later say more.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines on their way. A clone leads to the same ones.
#[derive(Debug, Clone)]
pub(crate) struct LogWriter(Arc<Shared>);

/// What those who log share with the thread that writes.
#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// A line came.
    came: Condvar,
    /// Everything that came is written or dropped.
    idle: Condvar,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread is at a line that is not in the queue any more.
    writing: bool,
    /// Whose lines are always taken: few, and the thread would wait for itself.
    writer: Option<ThreadId>,
}

/// The most that waits for stderr: thousands of lines, which a reader that was busy catches up with, and
/// nothing beside the memory of a broker.
const QUEUE_BYTES_MAX: usize = 4 << 20;

/// What a line takes beside its text.
const LINE_OVERHEAD: usize = size_of::<Vec<u8>>();

/// How long the thread rests when stderr is of a kind that refuses instead of letting it wait.
const REST: Duration = Duration::from_millis(50);

impl LogWriter {
    /// Starts the thread that writes to `out`. When it could write again after lines were dropped, it
    /// calls `tell` with their number; what that logs goes after what is queued.
    pub(crate) fn start(
        out: impl Write + Send + 'static,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Shared {
            queue: Mutex::default(),
            came: Condvar::new(),
            idle: Condvar::new(),
            dropped: Arc::default(),
        };
        let writer = Self(Arc::new(shared));
        let shared = Arc::clone(&writer.0);
        thread::Builder::new()
            .name("kohort-log".to_owned())
            .spawn(move || shared.write_lines(out, tell))?;
        Ok(writer)
    }

    /// Returns the number of lines that were dropped so far, which goes on counting.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.dropped)
    }

    /// Queues a line, or drops it if there is no room.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut queue = self.0.queue();
        let size = line.len() + LINE_OVERHEAD;
        let own = queue.writer == Some(thread::current().id());
        if queue.bytes + size > QUEUE_BYTES_MAX && !own {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += size;
        queue.lines.push_back(line.to_vec());
        drop(queue);
        self.0.came.notify_one();
    }

    /// Waits until everything queued is written or dropped, for `patience` at most: whoever reads may
    /// never do so. Returns whether it is.
    pub(crate) fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut queue = self.0.queue();
        while queue.writing || !queue.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.0.idle.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing is left half done by a thread that panics here.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lines(&self, mut out: impl Write, tell: impl Fn(u64)) {
        self.queue().writer = Some(thread::current().id());
        let mut told = 0;
        let mut torn = false;
        loop {
            let line = self.next();
            // Half a line may stand there, which this one must not continue.
            let whole = if torn { write_all(&mut out, b"\n") } else { Ok(()) };
            let written = whole.and_then(|()| {
                torn = false;
                write_all(&mut out, &line)
            });
            if let Err(Stopped { after }) = written {
                torn |= after > 0;
                self.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let dropped = self.dropped.load(Ordering::Relaxed);
            if dropped > told {
                tell(dropped - told);
                told = dropped;
            }
        }
    }

    /// Waits for a line.
    fn next(&self) -> Vec<u8> {
        let mut queue = self.queue();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len() + LINE_OVERHEAD;
                queue.writing = true;
                return line;
            }
            queue.writing = false;
            self.idle.notify_all();
            queue = self.came.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Writing ended early, after so many bytes.
struct Stopped {
    after: usize,
}

/// Writes all of a line, waiting where the system does not wait by itself.
fn write_all(out: &mut impl Write, line: &[u8]) -> Result<(), Stopped> {
    let mut after = 0;
    while after < line.len() {
        match out.write(&line[after..]) {
            Ok(0) => return Err(Stopped { after }),
            Ok(written) => after += written,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(REST),
            Err(_) => return Err(Stopped { after }),
        }
    }
    Ok(())
}

/// Takes one event's line as a whole: the formatter writes each with one call.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> LogWriter {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;
    use std::sync::mpsc::{self, Receiver, Sender};

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// What stderr does with the next call.
    type Answer = io::Result<usize>;

    /// A stderr that does to each write what the test says, and tells what it was given.
    struct Scripted {
        asked: Sender<Vec<u8>>,
        answers: Receiver<Answer>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> Answer {
            let _ = self.asked.send(bytes.to_vec());
            // When the test is over it takes everything.
            self.answers.recv().unwrap_or(Ok(bytes.len()))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A log with such a stderr, that tells of dropped lines as `N dropped`.
    fn scripted() -> (LogWriter, Receiver<Vec<u8>>, Sender<Answer>) {
        let (asked, asks) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let log = Arc::new(OnceLock::<LogWriter>::new());
        let own = Arc::clone(&log);
        let tell = move |lines| {
            let own = own.get().expect("there was a line before one was dropped");
            own.push(format!("{lines} dropped\n").as_bytes());
        };
        let writer = LogWriter::start(Scripted { asked, answers }, tell).unwrap();
        log.set(writer.clone()).unwrap();
        (writer, asks, answer)
    }

    fn next(asks: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(asks.recv_timeout(PATIENCE).unwrap()).unwrap()
    }

    #[test]
    fn a_reader_that_rests_holds_up_nobody_and_what_it_missed_is_told() {
        let (log, asks, answer) = scripted();
        log.push(b"first\n");
        assert_eq!(next(&asks), "first\n");
        // From here on the thread stands still in its write.
        let long = vec![b'x'; 1 << 16];
        let queued = (0..200).filter(|_| {
            log.push(&long);
            log.0.dropped.load(Ordering::Relaxed) == 0
        });
        let queued = queued.count();
        assert!(queued > 60 && log.0.queue().bytes <= QUEUE_BYTES_MAX, "{queued}");
        assert!(!log.flush(Duration::ZERO), "what is not written is not flushed");
        answer.send(Ok("first\n".len())).unwrap();
        let dropped = (200 - queued).to_string() + " dropped\n";
        drop(answer);
        assert!(log.flush(PATIENCE));
        let rest: Vec<Vec<u8>> = asks.try_iter().collect();
        assert_eq!(rest.len(), queued + 1, "all that was queued, and the number of the others");
        assert_eq!(rest.last().unwrap(), dropped.as_bytes());
        assert_eq!(log.dropped().load(Ordering::Relaxed), 200 - queued as u64);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_dropped_and_the_next_one_begins_anew() {
        let (log, asks, answer) = scripted();
        log.push(b"gone\n");
        log.push(b"torn\n");
        log.push(b"whole\n");
        let full = || Err(io::Error::from(ErrorKind::StorageFull));
        answer.send(full()).unwrap();
        answer.send(Ok(2)).unwrap();
        answer.send(full()).unwrap();
        drop(answer);
        assert!(log.flush(PATIENCE));
        let asked: Vec<String> =
            asks.try_iter().map(|line| String::from_utf8(line).unwrap()).collect();
        assert_eq!(asked, ["gone\n", "torn\n", "rn\n", "\n", "whole\n", "2 dropped\n"]);
        assert_eq!(log.dropped().load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_stderr_that_refuses_to_wait_is_asked_again() {
        let (log, asks, answer) = scripted();
        log.push(b"line\n");
        answer.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        answer.send(Err(ErrorKind::Interrupted.into())).unwrap();
        drop(answer);
        assert!(log.flush(PATIENCE));
        assert_eq!(asks.try_iter().count(), 3);
        assert_eq!(log.dropped().load(Ordering::Relaxed), 0);
    }
}
