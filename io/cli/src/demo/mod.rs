//! `kohort demo`: a consumer group at work on a broker of its own, and the proof that nothing was lost.
//!
//! Six partitions are fed at an even pace and shared by three members, each a process of its own.
//! At 30 % a fourth member joins; at 60 % one is killed with SIGKILL. When all is processed and the
//! broker holds no lag for the group, the ledger compares what was produced with what was processed.

mod data;
mod event;
mod feed;
mod ledger;
pub(crate) mod member;
mod process;
mod rebalances;
mod report;
mod screen;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::commands::block_on;

use self::data::Row;
use self::event::{MemberEvent, What};
use self::ledger::Ledger;
use self::process::{BrokerProcess, FromMember, MemberProcess};
use self::rebalances::RebalanceLog;
use self::report::Subject;
use self::screen::{MemberView, Screen, View, partitions};

/// The topic that is fed.
const TOPIC: &str = "flights";
/// The group that works on it.
const GROUP: &str = "delays";
/// How many partitions the topic has.
const PARTITIONS: i32 = 6;
/// Nothing in the demo takes this long unless something hangs.
const DEADLINE: Duration = Duration::from_secs(120);
/// Reports that wait to be read; beyond it the members wait.
const EVENTS_MAX: usize = 1024;

/// What the demo's broker sets apart from its defaults, so that waiting is short enough to watch.
const BROKER_PROPERTIES: [&str; 2] =
    ["group.initial.rebalance.delay.ms=500", "group.min.session.timeout.ms=1000"];
/// The same for its members: a crash is noticed after this long (the default is 45 s).
const SESSION_TIMEOUT_MS: u32 = 3000;

/// Watch a consumer group at work on a broker of its own, and lose a member.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Feed your own newline-delimited JSON instead of the flights
    #[arg(long, value_name = "F.ndjson", requires = "key")]
    file: Option<PathBuf>,
    /// The field of your records to use as their key
    #[arg(long, value_name = "FIELD", requires = "file")]
    key: Option<String>,
    /// A numeric field of your records to average per key
    #[arg(long, value_name = "FIELD", requires = "file")]
    value: Option<String>,
    /// Leave the broker and the group running, and say what to type next
    #[arg(long)]
    keep: bool,
}

/// Runs the demo; the status is 0 only if its check holds.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    block_on(async move {
        let folder = std::env::temp_dir().join(format!("kohort-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let result = Demo::start(&args, &folder).await;
        let result = match result {
            Ok(demo) => demo.play(&args).await,
            Err(error) => Err(error),
        };
        if !args.keep {
            let _ = std::fs::remove_dir_all(&folder);
        }
        result
    })
}

/// The running demo.
struct Demo {
    screen: Screen,
    ledger: Ledger,
    broker: BrokerProcess,
    rebalances: RebalanceLog,
    members: Vec<MemberProcess>,
    member_arguments: Vec<String>,
    folder: PathBuf,
    keep: bool,
    events: mpsc::Receiver<(usize, FromMember)>,
    events_sender: mpsc::Sender<(usize, FromMember)>,
    total: u64,
    subject: Subject,
    moves_shown: usize,
    /// Processed counts of the last second, for the rate.
    recent: VecDeque<(Instant, u64)>,
    deadline: Instant,
}

impl Demo {
    async fn start(args: &Args, folder: &Path) -> anyhow::Result<Self> {
        let mut screen = Screen::new();
        let broker = BrokerProcess::start(folder, &BROKER_PROPERTIES, args.keep).await?;
        screen.say(&format!("broker ready on {}, data in {}", broker.address, folder.display()));
        feed::create_topic(&broker.address, TOPIC, PARTITIONS).await?;
        screen.say(&format!("topic `{TOPIC}` created with {PARTITIONS} partitions"));
        let value = args.value.clone().or_else(|| args.file.is_none().then(|| "delay".to_owned()));
        let subject = Subject {
            keys: args.key.as_ref().map_or("airports".into(), |k| format!("values of `{k}`")),
            measure: match (&args.file, &value) {
                (None, _) => "average delay in minutes".into(),
                (Some(_), Some(field)) => format!("average of `{field}`"),
                (Some(_), None) => "count".into(),
            },
        };
        let mut member_arguments: Vec<String> = [
            "--bootstrap-server",
            &broker.address,
            "--group",
            GROUP,
            "--topic",
            TOPIC,
            "--key",
            args.key.as_deref().unwrap_or("origin"),
            "--session-timeout-ms",
            &SESSION_TIMEOUT_MS.to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        if let Some(value) = value {
            member_arguments.extend(["--value".to_owned(), value]);
        }
        let (events_sender, events) = mpsc::channel(EVENTS_MAX);
        let rebalances = RebalanceLog::new(broker.log.clone(), GROUP);
        Ok(Self {
            screen,
            ledger: Ledger::default(),
            broker,
            rebalances,
            members: Vec::new(),
            member_arguments,
            folder: folder.to_owned(),
            keep: args.keep,
            events,
            events_sender,
            total: 0,
            subject,
            moves_shown: 0,
            recent: VecDeque::new(),
            deadline: Instant::now() + DEADLINE,
        })
    }

    async fn play(mut self, args: &Args) -> anyhow::Result<ExitCode> {
        let rows = match (&args.file, &args.key) {
            (Some(file), Some(key)) => data::from_file(file, key)?,
            _ => data::flights()?,
        };
        self.total = rows.len() as u64;
        for _ in 0..3 {
            self.add_member()?;
        }
        self.screen.say(&format!("group `{GROUP}`: three members start, each its own process"));
        self.until("every member owns a partition", |demo| {
            demo.members.iter().all(|m| !demo.ledger.owned_by(&m.name).is_empty())
        })
        .await?;
        self.feed_and_disturb(rows).await?;
        let group_lag = feed::group_lag(&self.broker.address, GROUP, TOPIC, PARTITIONS).await?;
        let verdict = report::judge(&self.ledger, self.total, group_lag);
        if self.keep {
            self.leave_running().await;
        } else {
            self.stop().await?;
        }
        let mut summary = report::summary(&self.ledger, &verdict, &self.subject);
        summary.push_str(&format!("  took {:.1} s\n", self.screen.seconds()));
        self.screen.print(&summary);
        if self.keep {
            self.say_what_to_type_next();
        }
        Ok(if verdict.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Feeds all rows, lets the fourth member join and one die on the way, and waits for lag 0.
    async fn feed_and_disturb(&mut self, rows: Vec<Row>) -> anyhow::Result<()> {
        let (acks_sender, mut acks) = mpsc::channel(EVENTS_MAX);
        let mut feeder =
            tokio::spawn(feed::feed(self.broker.address.clone(), TOPIC, rows, acks_sender));
        self.screen.say(&format!("feeding {} records", self.total));
        let mut feeding = true;
        let (mut joined, mut killed) = (false, false);
        let mut tick = interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while feeding || self.ledger.lag() > 0 || !self.all_committed() {
            // Every branch is a channel or timer read, so losing a race loses nothing.
            tokio::select! {
                Some((partition, offset)) = acks.recv() => self.ledger.produced(partition, offset),
                Some((index, message)) = self.events.recv() => self.apply(index, message)?,
                done = &mut feeder, if feeding => {
                    feeding = false;
                    done.context("the feeder panicked")??;
                }
                _ = tick.tick() => self.show()?,
            }
            let fed = self.ledger.produced_count();
            if !joined && fed * 10 >= self.total * 3 {
                joined = true;
                self.screen.say("a fourth member joins");
                self.add_member()?;
            }
            if !killed && fed * 10 >= self.total * 6 {
                killed = true;
                self.kill_one().await?;
            }
        }
        while let Ok((partition, offset)) = acks.try_recv() {
            self.ledger.produced(partition, offset);
        }
        self.show()
    }

    /// Whether the members say they have committed all that was produced to each partition.
    fn all_committed(&self) -> bool {
        self.ledger.uncommitted() == 0
    }

    fn add_member(&mut self) -> anyhow::Result<()> {
        self.members.push(MemberProcess::start(
            self.members.len(),
            &self.member_arguments,
            &self.folder,
            self.keep,
            self.events_sender.clone(),
        )?);
        Ok(())
    }

    /// Kills the member that owns most, so that there is something to take over.
    async fn kill_one(&mut self) -> anyhow::Result<()> {
        let ledger = &self.ledger;
        let (index, victim) = self
            .members
            .iter_mut()
            .enumerate()
            .filter(|(_, m)| m.alive)
            .max_by_key(|(_, m)| ledger.owned_by(&m.name).len())
            .context("no member is alive")?;
        let owned = partitions(&self.ledger.owned_by(&victim.name));
        let pid = victim.pid().unwrap_or_default();
        let gone = victim.kill().await?;
        let name = victim.name.clone();
        // What it reported before its death is still in its pipe, and was done while it owned.
        while let Some((from, message)) = self.events.recv().await {
            let last = from == index && matches!(message, FromMember::Ended);
            self.apply(from, message)?;
            if last {
                break;
            }
        }
        self.ledger.ended(&name, gone);
        self.screen.say(&format!("{name} (pid {pid}), owner of {owned}, dies by SIGKILL"));
        Ok(())
    }

    fn apply(&mut self, index: usize, message: FromMember) -> anyhow::Result<()> {
        let member = &self.members[index];
        match message {
            FromMember::Event(MemberEvent { what: What::Failed { why }, .. }) => {
                bail!("{} failed: {why}", member.name)
            }
            FromMember::Event(event) => self.ledger.apply(&member.name, &event),
            FromMember::Ended if member.alive => bail!(
                "{} ended unasked: {}",
                member.name,
                std::fs::read_to_string(self.folder.join(format!("{}.log", member.name)))
                    .unwrap_or_default()
            ),
            FromMember::Ended => {}
        }
        Ok(())
    }

    /// Reads events until `reached` holds.
    async fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let mut tick = interval(Duration::from_millis(100));
        while !reached(self) {
            tokio::select! {
                Some((index, message)) = self.events.recv() => self.apply(index, message)?,
                _ = tick.tick() => self.show().with_context(|| format!("waiting until {what}"))?,
            }
        }
        Ok(())
    }

    /// Redraws, and says what has newly become known.
    fn show(&mut self) -> anyhow::Result<()> {
        if Instant::now() > self.deadline {
            bail!("the demo did not end in {} s; lag is {}", DEADLINE.as_secs(), self.ledger.lag());
        }
        for sentence in self.rebalances.news() {
            self.screen.say(&sentence);
        }
        let served: Vec<_> =
            self.ledger.moves().into_iter().filter(|m| m.unserved_micros.is_some()).collect();
        for moved in served.iter().skip(self.moves_shown) {
            self.screen.say(&format!(
                "partition {} went from {} to {}, unserved for {:.2} s",
                moved.partition,
                moved.from,
                moved.to,
                moved.unserved_micros.unwrap_or_default() as f64 / 1e6
            ));
        }
        self.moves_shown = served.len();
        let view = self.view();
        self.screen.show(&view);
        Ok(())
    }

    fn view(&mut self) -> View {
        let now = Instant::now();
        let processed = self.ledger.processed_count();
        self.recent.push_back((now, processed));
        while self.recent.len() > 2 && now - self.recent[0].0 > Duration::from_secs(1) {
            self.recent.pop_front();
        }
        let (since, before) = self.recent[0];
        let seconds = (now - since).as_secs_f64();
        let members = self.members.iter().map(|member| {
            let partitions = self.ledger.owned_by(&member.name);
            MemberView {
                name: member.name.clone(),
                state: match (member.alive, partitions.is_empty()) {
                    (false, _) => "killed",
                    (true, true) => "joining",
                    (true, false) => "running",
                },
                partitions,
                records: self.ledger.worked_by(&member.name),
            }
        });
        View {
            seconds: self.screen.seconds(),
            produced: self.ledger.produced_count(),
            total: self.total,
            processed,
            lag: self.ledger.lag(),
            records_per_second: if seconds > 0.0 {
                (processed - before) as f64 / seconds
            } else {
                0.0
            },
            members: members.collect(),
        }
    }

    /// Lets the members leave and the broker stop.
    async fn stop(&mut self) -> anyhow::Result<()> {
        for member in self.members.iter_mut().filter(|m| m.alive) {
            member.alive = false;
            member.leave().await;
        }
        // The pipes are read until they close, or a member could wait for room to report.
        let mut events = std::mem::replace(&mut self.events, mpsc::channel(1).1);
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        for member in &mut self.members {
            if member.pid().is_some() {
                member.wait().await?;
            }
        }
        self.broker.stop().await
    }

    async fn leave_running(&mut self) {
        for member in self.members.iter_mut().filter(|m| m.alive) {
            member.stay().await;
        }
    }

    fn say_what_to_type_next(&mut self) {
        let address = &self.broker.address;
        let pids: Vec<String> = self
            .members
            .iter()
            .filter(|m| m.alive)
            .filter_map(MemberProcess::pid)
            .chain(self.broker.pid())
            .map(|pid| pid.to_string())
            .collect();
        let text = format!(
            "\n  the broker and the group go on; type next:\n\
             \n    alias kohort='{}'\
             \n    export KOHORT_BOOTSTRAP_SERVERS={address}\
             \n    kohort group describe {GROUP}\
             \n    kohort consume {TOPIC} --from-beginning --max-messages 3 -f '%p:%o %k %s\\n'\
             \n    kohort topic describe {TOPIC}\n\
             \n  to end it: kill {} && rm -r {}\n",
            std::env::current_exe().unwrap_or_else(|_| "kohort".into()).display(),
            pids.join(" "),
            self.folder.display()
        );
        self.screen.print(&text);
    }
}
