//! `cargo xtask soak expulsions`: is anybody expelled from a group who neither left nor died?
//!
//! Our broker at its defaults; members of four clients, each in groups of both protocols, among their
//! own kind and all together; a record every [`FEED_MS`]. All of them speak through a [`proxy`], which
//! resets, closes and half-closes connections, stalls them and ends those that are idle. Processes are
//! paused for less than their session. The broker is stopped and started again, half of the time with a
//! `connections.max.idle.ms` shorter than the interval of the heartbeats. Members leave and join, and
//! some processes are really killed.
//!
//! What the broker tells of each rebalance in `__kohort_group_events` is held against what was done: a
//! member that was expelled without having been killed, or told to leave, fails the run (its leave may be lost
//! with the connection), and so does one that left without having been told to, a record that a group never read, or one that it read after it had committed
//! behind it. So does a committed offset that the broker did not tell as it was committed, which says on
//! whose side a group went back ([`witness`]). What is done, and to whom, follows from a seed; when exactly
//! does not.
//!
//! Left out on purpose, since no broker can do right then:
//!
//! - The connections of a paused process are not struck, and no process is paused just after several were. A
//!   process all of whose connections end in an orderly way while it cannot answer looks like a dead one, and
//!   is taken for one (`docs/decisions/0025`). That one of them ends just before a pause is not left out.
//! - A connection that is struck is stalled no more. If the broker is told of its end and the client is not,
//!   that one does not come back, and is taken for dead as well. And if a commit is held back until its client
//!   has sent that and later ones over another connection, it comes as the last one.
//! - No group begins without committed offsets. librdkafka (2.16) asks for a partition's beginning if there is
//!   none. If it has lost the partition when the answer comes, it asks again, and then fetches what is not its
//!   own. When the partition is its own again it hands out what it has of it, from the beginning on.

mod accidents;
mod audit;
mod processes;
mod proxy;
mod verdict;
mod witness;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::json;

use crate::broker::{Broker, Properties};
use crate::hub::{Client, DriverId, Hub};
use crate::places::{Places, free_port};
use crate::soak::dice::Dice;
use audit::{Audit, DOOMED};
use proxy::Proxy;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How long it lasts.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// What is done to whom; another one every time if it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Leave the broker's `connections.max.idle.ms` as it is.
    #[arg(long)]
    no_restart: bool,
}

/// Runs it; returns whether nobody was expelled and nothing was lost.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let time = Duration::from_secs_f64(arguments.minutes * 60.0);
    println!("{:.1} minutes, seed {seed} (`--seed {seed}` does the same again)", arguments.minutes);
    let mut run = Run::start(&Places::find()?, Dice::new(seed), !arguments.no_restart)?;
    run.live(time)?;
    run.end()
}

struct Run {
    dice: Dice,
    begun: Instant,
    // Dropped in this order: drivers first.
    hub: Hub,
    audit: Audit,
    proxy: Proxy,
    broker: Broker,
    restarts: bool,
    players: Vec<Player>,
    /// A process that will be killed.
    doomed: Option<Player>,
    feeder: DriverId,
    /// Who is paused, until when, and its connections.
    paused: Option<Paused>,
    /// What was done, and how often.
    counts: BTreeMap<String, usize>,
    /// What was done last, with its Unix time in milliseconds.
    recent: VecDeque<(i64, String)>,
    /// When a connection was struck last, and when that was not the only one.
    struck: Option<Instant>,
    struck_several: Option<Instant>,
    started: usize,
    /// Groups of which it was told that they read what they had committed.
    went_back: BTreeSet<String>,
    /// How many offsets were told wrong when that was told.
    told_wrong: usize,
    /// How often groups did not come to rest.
    stuck: usize,
}

/// A process with a member in each of its groups.
struct Player {
    name: String,
    client: Client,
    driver: DriverId,
    groups: BTreeSet<String>,
}

struct Paused {
    pid: u32,
    until: Instant,
    ports: BTreeSet<u16>,
}

impl Run {
    fn start(places: &Places, dice: Dice, restarts: bool) -> Result<Self> {
        let port = free_port()?;
        let broker = Broker::start_proxied(places, port, PROPERTIES)?;
        let proxy = Proxy::start(port, broker.address().parse()?)?;
        let bootstrap = format!("127.0.0.1:{port}");
        let mut hub = Hub::new(places, bootstrap.clone());
        let feeder = hub.start_driver(Client::Kohort)?;
        hub.create(feeder, TOPIC, PARTITIONS)?;
        let groups = groups().map(GroupKind::name).collect();
        let audit = Audit::new(&bootstrap, groups)?;
        audit.commit_beginnings(TOPIC, PARTITIONS)?;
        let mut run = Self {
            dice,
            begun: Instant::now(),
            hub,
            audit,
            proxy,
            broker,
            restarts,
            players: Vec::new(),
            doomed: None,
            feeder,
            paused: None,
            counts: BTreeMap::new(),
            recent: VecDeque::new(),
            struck: None,
            struck_several: None,
            started: 0,
            went_back: BTreeSet::new(),
            told_wrong: 0,
            stuck: 0,
        };
        for client in Client::ALL {
            for number in 1..=2 {
                let player = run.player(format!("{}-{number}", client.name()), client)?;
                run.players.push(player);
            }
        }
        run.settle(START_PATIENCE).context("the groups come together")?;
        let feed = json!({
            "cmd": "load.start",
            "load": FEED,
            "topic": TOPIC,
            "partitions": PARTITIONS,
            "pause_ms": FEED_MS,
        });
        run.hub.call(feeder, feed)?;
        Ok(run)
    }

    /// Starts a process with a member in each group of its client.
    fn player(&mut self, name: String, client: Client) -> Result<Player> {
        let driver = self.hub.start_driver(client)?;
        let mut player = Player { name, client, driver, groups: BTreeSet::new() };
        for group in groups().filter(|group| group.client.is_none_or(|it| it == client)) {
            self.join(&mut player, group)?;
        }
        Ok(player)
    }

    fn join(&mut self, player: &mut Player, group: GroupKind) -> Result<()> {
        let member = format!("{}.{}", player.name, group.name());
        let mut settings = json!({ "group.protocol": group.protocol });
        if group.client.is_none() && !player.name.starts_with(DOOMED) {
            // As processes of one application are called.
            settings["client.id"] = json!(SHARED_NAME);
        }
        if (player.client, group.client, group.protocol) == (Client::FranzGo, None, "classic") {
            // Its default assignor is none that all have in common.
            settings["group.remote.assignor"] = json!("range");
        }
        let command = json!({
            "cmd": "member.start",
            "member": member,
            "group": group.name(),
            "topic": TOPIC,
            "settings": settings,
        });
        self.hub.book(&member, &group.name());
        self.hub.call(player.driver, command)?;
        player.groups.insert(group.name());
        Ok(())
    }

    /// Waits until all groups are stable and have their members.
    fn settle(&mut self, patience: Duration) -> Result<()> {
        let expected = self.expected();
        let deadline = Instant::now() + patience;
        while !self.audit.describe(&expected)? {
            ensure!(
                Instant::now() < deadline,
                "groups do not settle: {}\n{:?}",
                self.audit.unsettled,
                self.hub
            );
            self.hub.listen(LOOK);
        }
        Ok(())
    }

    /// Returns how many members each group should have.
    fn expected(&self) -> BTreeMap<String, usize> {
        let mut expected = BTreeMap::new();
        for player in self.players.iter().chain(&self.doomed) {
            for group in &player.groups {
                *expected.entry(group.clone()).or_default() += 1;
            }
        }
        expected
    }

    fn live(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut agenda = Agenda::default();
        while Instant::now() < end {
            self.hub.listen(LOOK);
            self.resume_if_due(false)?;
            if agenda.due("strike", &STRIKE_EVERY, &mut self.dice) {
                self.strike();
            }
            if agenda.due("sweep", &SWEEP_EVERY, &mut self.dice) {
                self.end_idle();
            }
            if agenda.due("pause", &PAUSE_EVERY, &mut self.dice) {
                self.pause()?;
            }
            if agenda.due("churn", &CHURN_EVERY, &mut self.dice) {
                self.leave_and_join()?;
            }
            if agenda.due("kill", &KILL_EVERY, &mut self.dice) {
                self.kill_or_start()?;
            }
            if self.restarts && agenda.due("restart", &RESTART_EVERY, &mut self.dice) {
                self.restart_broker()?;
            }
            if agenda.due("audit", &AUDIT_EVERY, &mut self.dice) {
                self.audit()?;
            }
            if agenda.due("report", &REPORT_EVERY, &mut self.dice) {
                self.report();
            }
        }
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // A paused process would not end.
        let _ = self.resume_if_due(true);
    }
}

/// When what is done next.
#[derive(Debug, Default)]
struct Agenda(BTreeMap<&'static str, Instant>);

impl Agenda {
    /// Tells whether it is time, and if so when the next time will be.
    fn due(&mut self, what: &'static str, every: &Range<Duration>, dice: &mut Dice) -> bool {
        let now = Instant::now();
        let due = self.0.get(what).is_some_and(|at| *at <= now);
        if due || !self.0.contains_key(what) {
            self.0.insert(what, now + dice.time(every));
        }
        due
    }
}

/// A group: of one client, or of all.
#[derive(Debug, Clone, Copy)]
struct GroupKind {
    client: Option<Client>,
    protocol: &'static str,
}

impl GroupKind {
    fn name(self) -> String {
        format!("{}-{}", self.client.map_or("all", Client::name), self.protocol)
    }
}

fn groups() -> impl Iterator<Item = GroupKind> {
    let clients = Client::ALL.into_iter().map(Some).chain([None]);
    clients
        .flat_map(|client| ["classic", "consumer"].map(|protocol| GroupKind { client, protocol }))
}

const TOPIC: &str = "fed";
const FEED: &str = "feed";
const FEED_MS: u64 = 50;
const PARTITIONS: u64 = 12;
const SHARED_NAME: &str = "app";
const PROPERTIES: Properties = &[];

const fn seconds(from: u64, to: u64) -> Range<Duration> {
    Duration::from_secs(from)..Duration::from_secs(to)
}

const STRIKE_EVERY: Range<Duration> = Duration::from_millis(300)..Duration::from_secs(6);
const SWEEP_EVERY: Range<Duration> = seconds(10, 60);
const PAUSE_EVERY: Range<Duration> = seconds(4, 20);
const CHURN_EVERY: Range<Duration> = seconds(20, 90);
const KILL_EVERY: Range<Duration> = seconds(30, 120);
const RESTART_EVERY: Range<Duration> = seconds(120, 400);
const AUDIT_EVERY: Range<Duration> = seconds(3, 6);
const REPORT_EVERY: Range<Duration> = seconds(60, 61);
const LOOK: Duration = Duration::from_millis(20);
const START_PATIENCE: Duration = Duration::from_secs(120);
const SETTLE_PATIENCE: Duration = Duration::from_secs(90);
