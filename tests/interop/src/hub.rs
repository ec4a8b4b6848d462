//! The driver processes, one or more per client, and what they have told so far.
//!
//! All of them speak into one channel. A call waits for its reply and takes in the events that come
//! before it; [`Hub::wait`] takes in events until a condition on what was told holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::ledger::Ledger;
use crate::places::Places;

/// A client of Kafka whose driver we have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Client {
    /// Kafka's own clients.
    Java,
    /// confluent-kafka for Python.
    Librdkafka,
    /// The Go client.
    FranzGo,
    /// Our own: this program itself, as `kohort-interop driver`.
    Kohort,
}

impl Client {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Java, Self::Librdkafka, Self::FranzGo, Self::Kohort];

    /// Returns the name used in test names and topics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Java => "java",
            Self::Librdkafka => "librdkafka",
            Self::FranzGo => "franz-go",
            Self::Kohort => "kohort",
        }
    }

    fn command(self, places: &Places) -> Result<Command> {
        Ok(match self {
            Self::Java => {
                let mut java = Command::new("java");
                java.args(DRIVER_JVM).args(["-cp", &places.class_path()]).arg("Driver");
                java
            }
            Self::Librdkafka => {
                let mut python = Command::new(places.peers.join("python/venv/bin/python"));
                python.arg(places.sources.join("python/driver.py"));
                python
            }
            Self::FranzGo => Command::new(places.peers.join("go/driver")),
            Self::Kohort => {
                let mut kohort = Command::new(std::env::current_exe()?);
                kohort.arg("driver");
                kohort
            }
        })
    }
}

/// Names one driver process of a [`Hub`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DriverId(usize);

/// What one group member has told.
#[derive(Debug, Default)]
pub(crate) struct MemberView {
    /// The partitions it owns by its own account.
    pub(crate) owned: BTreeSet<i64>,
    /// The records it read, as partition and offset, in order.
    pub(crate) records: Vec<(i64, i64)>,
    /// The offset it last committed, by partition.
    pub(crate) committed: BTreeMap<i64, i64>,
    /// The records it read though it had committed behind them.
    pub(crate) went_back: Vec<(i64, i64)>,
    /// The partitions it gave back when asked to, in order.
    pub(crate) given_back: Vec<i64>,
    /// How often partitions were assigned.
    pub(crate) assignments: usize,
    /// How often its partitions were lost, which is to be fenced.
    pub(crate) losses: usize,
    /// What went wrong.
    pub(crate) problems: Vec<String>,
}

/// What one producer at work has told.
#[derive(Debug, Default)]
pub(crate) struct LoadView {
    /// The acknowledged records, as partition, offset and sequence number.
    pub(crate) acked: Vec<(i64, i64, i64)>,
    /// What went wrong.
    pub(crate) problems: Vec<String>,
}

/// Which driver told something, when, and what.
type Told = (usize, Instant, Value);

/// All driver processes of a run. They end when this is dropped.
pub(crate) struct Hub {
    places: Places,
    bootstrap: String,
    sender: Sender<Told>,
    receiver: Receiver<Told>,
    drivers: Vec<Driver>,
    standing: BTreeMap<Client, DriverId>,
    next_call: u64,
    /// What each member has told.
    pub(crate) members: BTreeMap<String, MemberView>,
    /// What each producer at work has told.
    pub(crate) loads: BTreeMap<String, LoadView>,
    /// When records of each partition arrived here, whoever else told of them.
    pub(crate) arrivals: Arrivals,
    /// The same of the member [`CONTROL`] alone.
    pub(crate) control: Arrivals,
    /// What groups have read, of those that are to be kept books of.
    pub(crate) ledgers: BTreeMap<String, Ledger>,
    /// The groups of members that books are kept of.
    booked: BTreeMap<String, String>,
}

/// How long partitions were silent.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// When each partition was last heard of.
    last: BTreeMap<i64, Instant>,
    /// The longest time between two arrivals of each partition.
    pub(crate) longest: BTreeMap<i64, Duration>,
    /// All times between arrivals that are longer than [`SILENCE`], of all partitions.
    pub(crate) unserved: Duration,
}

impl Arrivals {
    /// Counts from now on, for these partitions.
    pub(crate) fn restart(&mut self, partitions: impl IntoIterator<Item = i64>) {
        let now = Instant::now();
        *self = Self {
            last: partitions.into_iter().map(|partition| (partition, now)).collect(),
            ..Self::default()
        };
    }

    /// Takes that records of a partition arrived; only what is watched counts.
    fn note(&mut self, partition: i64, at: Instant) {
        let Some(last) = self.last.get_mut(&partition) else { return };
        let silence = at.saturating_duration_since(*last);
        *last = at.max(*last);
        let longest = self.longest.entry(partition).or_default();
        *longest = silence.max(*longest);
        if silence > SILENCE {
            self.unserved += silence;
        }
    }
}

/// The name of a member that has a group for itself: what it does not get either, nobody can.
pub(crate) const CONTROL: &str = "control";

/// A partition that is fed every few milliseconds and silent for longer than this is not served.
const SILENCE: Duration = Duration::from_millis(100);

struct Driver {
    name: String,
    process: Child,
    stdin: Option<ChildStdin>,
}

impl Hub {
    /// Returns a hub whose drivers will talk to the broker at an address.
    pub(crate) fn new(places: &Places, bootstrap: String) -> Self {
        let (sender, receiver) = channel();
        Self {
            places: places.clone(),
            bootstrap,
            sender,
            receiver,
            drivers: Vec::new(),
            standing: BTreeMap::new(),
            next_call: 0,
            members: BTreeMap::new(),
            loads: BTreeMap::new(),
            arrivals: Arrivals::default(),
            control: Arrivals::default(),
            ledgers: BTreeMap::new(),
            booked: BTreeMap::new(),
        }
    }

    /// Returns the standing driver of a client: started at its first use, shared by all tests.
    pub(crate) fn driver(&mut self, client: Client) -> Result<DriverId> {
        if let Some(id) = self.standing.get(&client) {
            return Ok(*id);
        }
        let id = self.start_driver(client)?;
        self.standing.insert(client, id);
        Ok(id)
    }

    /// Starts one more driver process of a client, to be killed by a test.
    pub(crate) fn start_driver(&mut self, client: Client) -> Result<DriverId> {
        let index = self.drivers.len();
        let name = format!("driver-{index}-{}", client.name());
        let mut process = client
            .command(&self.places)?
            .arg(&self.bootstrap)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.places.log(&name)?)
            .spawn()
            .with_context(|| format!("the driver of {} could not be started", client.name()))?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().context("stdout is piped")?;
        let sender = self.sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line)
                    .unwrap_or_else(|_| json!({ "event": "garbage", "line": line }));
                if sender.send((index, Instant::now(), value)).is_err() {
                    return;
                }
            }
            // Nobody listens any more when the hub is gone.
            let _ = sender.send((index, Instant::now(), json!({ "event": "ended" })));
        });
        self.drivers.push(Driver { name, process, stdin });
        Ok(DriverId(index))
    }

    /// Kills a driver process with SIGKILL: its members die without a word.
    pub(crate) fn kill(&mut self, id: DriverId) -> Result<()> {
        let driver = &mut self.drivers[id.0];
        driver.stdin = None;
        driver.process.kill()?;
        driver.process.wait()?;
        Ok(())
    }

    /// Returns the process id of a driver.
    pub(crate) fn pid(&self, id: DriverId) -> u32 {
        self.drivers[id.0].process.id()
    }

    /// Keeps books of what a member reads, as one of a group.
    pub(crate) fn book(&mut self, member: &str, group: &str) {
        self.booked.insert(member.to_owned(), group.to_owned());
        self.ledgers.entry(group.to_owned()).or_default();
    }

    /// Has a driver carry out a command; events that arrive meanwhile are taken in.
    pub(crate) fn call(&mut self, id: DriverId, command: Value) -> Result<Value> {
        self.next_call += 1;
        let number = self.next_call;
        let mut line = command;
        line["id"] = json!(number);
        let driver = &mut self.drivers[id.0];
        let stdin = driver.stdin.as_mut().context("the driver was killed")?;
        writeln!(stdin, "{line}")
            .and_then(|()| stdin.flush())
            .with_context(|| format!("{} takes no commands any more", driver.name))?;
        let deadline = Instant::now() + CALL_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (from, at, answer) = match self.receiver.recv_timeout(left) {
                Ok(told) => told,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("no answer within {CALL_TIMEOUT:?} to {line}")
                }
                Err(RecvTimeoutError::Disconnected) => bail!("all drivers are gone"),
            };
            if from == id.0 && answer["id"] == number {
                return match answer.get("ok") {
                    Some(value) => Ok(value.clone()),
                    None => bail!("{line} was answered with {}", answer["error"]),
                };
            }
            ensure!(
                !(from == id.0 && answer["event"] == "ended"),
                "{} ended before it answered {line}",
                self.drivers[id.0].name
            );
            self.take_in(at, &answer);
        }
    }

    /// Has a driver create a topic, and waits until each partition has a leader that answers.
    ///
    /// On Kafka that comes a moment later, and librdkafka, at its defaults not idempotent, may write
    /// records out of order when a batch is refused meanwhile.
    pub(crate) fn create(&mut self, id: DriverId, topic: &str, partitions: u64) -> Result<()> {
        self.call(id, json!({ "cmd": "create", "topic": topic, "partitions": partitions }))?;
        let read = json!({ "cmd": "consume", "topic": topic, "partitions": partitions });
        self.call_until_answered(id, &read)?;
        Ok(())
    }

    /// Calls again and again for a while: not every client has the patience to wait by itself for a
    /// leader to be elected or a coordinator to be loaded.
    pub(crate) fn call_until_answered(&mut self, id: DriverId, command: &Value) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.call(id, command.clone()) {
                Err(_) if Instant::now() < deadline => self.listen(PATIENCE_PAUSE),
                outcome => return outcome,
            }
        }
    }

    /// Takes in events until `done` holds for what was told.
    pub(crate) fn wait(
        &mut self,
        what: &str,
        timeout: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receiver.recv_timeout(left) {
                Ok((_, at, event)) => self.take_in(at, &event),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("waited {timeout:?} in vain until {what}; what was told:\n{self:?}")
                }
                Err(RecvTimeoutError::Disconnected) => bail!("all drivers are gone"),
            }
        }
        Ok(())
    }

    /// Takes in what has arrived and whatever else arrives within a time.
    pub(crate) fn listen(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receiver.recv_timeout(left) {
                Ok((_, at, event)) => self.take_in(at, &event),
                Err(_) => return,
            }
        }
    }

    /// Returns what a member has told; a member that told nothing owns and read nothing.
    pub(crate) fn member(&mut self, name: &str) -> &mut MemberView {
        self.members.entry(name.to_owned()).or_default()
    }

    fn take_in(&mut self, at: Instant, event: &Value) {
        let kind = event["event"].as_str().unwrap_or_default();
        if let Some(name) = event["load"].as_str() {
            let load = self.loads.entry(name.to_owned()).or_default();
            match kind {
                "acked" => load.acked.extend(triples(&event["records"])),
                _ => load.problems.push(event.to_string()),
            }
            return;
        }
        let Some(name) = event["member"].as_str() else { return };
        let member = self.member(name);
        match kind {
            "assigned" => {
                member.assignments += 1;
                member.owned.extend(numbers(&event["partitions"]));
            }
            "revoked" | "lost" => {
                member.losses += usize::from(kind == "lost");
                for partition in numbers(&event["partitions"]) {
                    member.owned.remove(&partition);
                    if kind == "revoked" {
                        member.given_back.push(partition);
                    }
                }
            }
            "records" => {
                let arrivals = if name == CONTROL { &mut self.control } else { &mut self.arrivals };
                for (partition, _) in pairs(&event["records"]) {
                    arrivals.note(partition, at);
                }
                self.enter(name, event);
                let member = self.member(name);
                for (partition, offset) in pairs(&event["records"]) {
                    if member.committed.get(&partition).is_some_and(|behind| offset < *behind) {
                        member.went_back.push((partition, offset));
                    }
                    member.records.push((partition, offset));
                }
            }
            "committed" => {
                member.committed.extend(pairs(&event["offsets"]));
                self.enter(name, event);
            }
            _ => member.problems.push(event.to_string()),
        }
    }

    /// Enters what a member read or committed in the books of its group.
    fn enter(&mut self, member: &str, event: &Value) {
        let group = self.booked.get(member);
        let Some(ledger) = group.and_then(|group| self.ledgers.get_mut(group)) else { return };
        for (partition, offset) in pairs(&event["records"]) {
            ledger.read(member, partition, offset);
        }
        for (partition, offset) in pairs(&event["offsets"]) {
            ledger.committed(partition, offset);
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        for driver in &mut self.drivers {
            driver.stdin = None;
            // It may have ended by itself: then there is nothing to kill.
            let _ = driver.process.kill();
            let _ = driver.process.wait();
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, member) in &self.members {
            let MemberView { owned, records, committed, assignments, losses, problems, .. } =
                member;
            writeln!(
                f,
                "  member {name}: owns {owned:?}, read {} records, committed {committed:?}, \
                 {assignments} assignments, {losses} losses, problems {problems:?}",
                records.len()
            )?;
        }
        for (name, load) in &self.loads {
            writeln!(f, "  load {name}: {} acked, problems {:?}", load.acked.len(), load.problems)?;
        }
        Ok(())
    }
}

/// Returns the numbers of a JSON array.
pub(crate) fn numbers(value: &Value) -> impl Iterator<Item = i64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_i64)
}

fn pairs(value: &Value) -> impl Iterator<Item = (i64, i64)> {
    let rows = value.as_array().into_iter().flatten();
    rows.filter_map(|row| Some((row[0].as_i64()?, row[1].as_i64()?)))
}

/// Returns the rows of three numbers of a JSON array.
pub(crate) fn triples(value: &Value) -> impl Iterator<Item = (i64, i64, i64)> {
    let rows = value.as_array().into_iter().flatten();
    rows.filter_map(|row| Some((row[0].as_i64()?, row[1].as_i64()?, row[2].as_i64()?)))
}

const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_PAUSE: Duration = Duration::from_millis(100);
/// Clients retry for a minute by themselves when a broker is away.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);
/// A small heap and the quick compiler: the suites are about answers, not speed.
pub(crate) const DRIVER_JVM: &[&str] = &[
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
];
