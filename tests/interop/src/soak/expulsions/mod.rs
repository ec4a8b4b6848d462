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
//! member that was expelled without having been killed fails the run, and so does one that left without
//! having been told to, a record that a group never read, or one that it read after it had committed
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

mod audit;
mod processes;
mod proxy;
mod witness;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::json;

use crate::broker::{Broker, Properties};
use crate::hub::{Client, DriverId, Hub};
use crate::ledger::Ledger;
use crate::places::{Places, free_port};
use crate::soak::dice::Dice;
use audit::{Audit, DOOMED, WATCHER};
use proxy::{Fault, LinkView, Proxy};

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

    fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    /// Remembers what is done to whom, to tell it with what may come of it.
    fn note(&mut self, what: String) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((unix_ms(), what));
    }

    /// Returns the process that a connection is of.
    fn whose(&self, link: &LinkView) -> String {
        let drivers = self.players.iter().chain(&self.doomed);
        let mut drivers = drivers.map(|it| (&*it.name, it.driver)).chain([("feed", self.feeder)]);
        let has = |driver| {
            processes::ports(self.hub.pid(driver)).is_ok_and(|ports| ports.contains(&link.port))
        };
        let found = drivers.find(|(_, driver)| has(*driver));
        format!("{} of {}", link.client_id, found.map_or("nobody", |(name, _)| name))
    }

    /// Takes in that connections are struck.
    fn struck(&mut self, count: usize) {
        let now = Instant::now();
        if count > 1 || self.struck.is_some_and(|at| now < at + STRIKES_APART) {
            self.struck_several = Some(now);
        }
        if count > 0 {
            self.struck = Some(now);
        }
    }

    fn minutes(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() / 60.0
    }

    /// Returns the links that may be struck.
    fn links(&self) -> Vec<LinkView> {
        let spared = self.paused.as_ref().map(|paused| &paused.ports);
        let mut links = self.proxy.links();
        links.retain(|link| {
            link.client_id != WATCHER && !spared.is_some_and(|ports| ports.contains(&link.port))
        });
        links
    }

    /// Strikes one connection, or all under one name.
    fn strike(&mut self) {
        let links = self.links();
        if links.is_empty() {
            return;
        }
        let link = self.dice.choose(&links).clone();
        let fault = match self.dice.below(8) {
            0 | 1 => Fault::Reset,
            2 => Fault::ResetClient,
            3 => Fault::ResetBroker,
            4 => Fault::Close,
            5 => Fault::HalfCloseToBroker,
            6 => Fault::HalfCloseToClient,
            _ => Fault::Stall(self.dice.time(&STALL)),
        };
        let all = self.dice.below(4) == 0;
        let whose = self.whose(&link);
        let mut count = 0;
        for struck in &links {
            let meant = struck.id == link.id || all && struck.client_id == link.client_id;
            if meant && self.proxy.strike(struck.id, fault) {
                self.count(fault.name());
                count += 1;
            }
        }
        self.note(format!("{} of {count}: {whose}", fault.name()));
        self.struck(count);
    }

    /// Ends what has been idle for some seconds, as address translators do.
    fn end_idle(&mut self) {
        let mut count = 0;
        for link in self.links().iter().filter(|link| link.idle > IDLE) {
            if self.proxy.strike(link.id, Fault::Close) {
                self.count("idle close");
                count += 1;
            }
        }
        self.note(format!("close of {count} that were idle"));
        self.struck(count);
    }

    /// Pauses a process that nothing was done to for a moment.
    fn pause(&mut self) -> Result<()> {
        let just_struck = self.struck_several.is_some_and(|at| at.elapsed() < SEVERAL_BEFORE);
        if self.paused.is_some() || just_struck {
            return Ok(());
        }
        let player = self.dice.choose(&self.players);
        let (pid, name) = (self.hub.pid(player.driver), player.client.name());
        let process = player.name.clone();
        let time = self.dice.time(&PAUSE);
        // What it opens between the two looks is struck by nobody: that takes a turn of this loop.
        processes::pause(pid)?;
        let ports = processes::ports(pid)?;
        self.paused = Some(Paused { pid, until: Instant::now() + time, ports });
        self.count(&format!("pause of {name}"));
        self.note(format!("pause of {process} for {:.1} s", time.as_secs_f64()));
        Ok(())
    }

    fn resume_if_due(&mut self, now: bool) -> Result<()> {
        if let Some(paused) = self.paused.take_if(|it| now || Instant::now() >= it.until) {
            processes::resume(paused.pid)?;
        }
        Ok(())
    }

    /// Has a member leave in an orderly way, and join again.
    fn leave_and_join(&mut self) -> Result<()> {
        self.resume_if_due(true)?;
        let index = self.dice.below(self.players.len());
        let own: Vec<_> =
            groups().filter(|it| it.client == Some(self.players[index].client)).collect();
        let group = *self.dice.choose(&own);
        let member = format!("{}.{}", self.players[index].name, group.name());
        self.audit.describe(&self.expected())?;
        self.audit.excuse(&member);
        let mut player = self.players.remove(index);
        self.hub.call(player.driver, json!({ "cmd": "member.stop", "member": member }))?;
        self.hub.member(&member).owned.clear();
        let joined = self.join(&mut player, group);
        self.players.insert(index, player);
        self.count("leave and join");
        joined
    }

    /// Kills the process that was started to be killed, or starts one.
    fn kill_or_start(&mut self) -> Result<()> {
        if let Some(doomed) = self.doomed.take() {
            self.audit.describe(&self.expected())?;
            self.hub.kill(doomed.driver)?;
            self.count("kill");
            return Ok(());
        }
        let client = *self.dice.choose(&[Client::Kohort, Client::FranzGo, Client::Librdkafka]);
        self.started += 1;
        let name = format!("{DOOMED}-{}", self.started);
        self.doomed = Some(self.player(name, client)?);
        Ok(())
    }

    /// Stops the broker and starts it with another time for idle connections.
    fn restart_broker(&mut self) -> Result<()> {
        self.resume_if_due(true)?;
        // A join phase that is under way would be lost, as it is on Kafka.
        if let Err(error) = self.settle(SETTLE_PATIENCE) {
            println!("{:6.1} min: STUCK {error:#}", self.minutes());
            self.stuck += 1;
            return Ok(());
        }
        self.audit.take_in()?;
        let short = self.dice.below(2) == 0;
        let idle = self.dice.time(&BROKER_IDLE).as_millis().to_string();
        self.broker.set("connections.max.idle.ms", short.then_some(idle.clone()));
        self.broker.stop()?;
        self.broker.launch()?;
        let idle = if short { &idle } else { "600000" };
        println!("{:6.1} min: broker restarted, connections.max.idle.ms={idle}", self.minutes());
        self.count("restart of the broker");
        Ok(())
    }

    fn audit(&mut self) -> Result<()> {
        let before = self.audit.found.len();
        // Its connections are ended by the broker as others are.
        let _ = self.audit.describe(&self.expected());
        self.audit.take_in()?;
        for found in &self.audit.found[before..] {
            self.tell_with_what_was_done(&format!("EXPELLED {found}"));
        }
        let (_, wrong) = self.proxy.told();
        for text in wrong.iter().skip(std::mem::replace(&mut self.told_wrong, wrong.len())) {
            self.tell_with_what_was_done(&format!("TOLD WRONG {text}"));
        }
        let back = |(group, ledger): (&String, &Ledger)| {
            Some((group.clone(), ledger.went_back.first()?.clone()))
        };
        let back: Vec<(String, String)> = self.hub.ledgers.iter().filter_map(back).collect();
        for (group, first) in back {
            let found = format!("WENT BACK {group}: {first}, to begin with");
            if self.went_back.insert(group) {
                self.tell_with_what_was_done(&found);
            }
        }
        Ok(())
    }

    fn tell_with_what_was_done(&self, found: &str) {
        println!("{:6.1} min: {found}", self.minutes());
        for (at, what) in &self.recent {
            println!("             at {at}: {what}");
        }
    }

    fn report(&self) {
        let acked = self.hub.loads.get(FEED).map_or(0, |load| load.acked.len());
        let again: usize = self.hub.ledgers.values().map(|ledger| ledger.again).sum();
        let back: usize = self.hub.ledgers.values().map(|ledger| ledger.went_back.len()).sum();
        let (told, wrong) = self.proxy.told();
        println!(
            "{:6.1} min: {acked} records; {} rebalances; read again {again}, of these committed {back}; \
             offsets told {told}, of these wrong {}; expelled {}; {}",
            self.minutes(),
            self.audit.rebalances,
            wrong.len(),
            self.audit.found.len(),
            counted(&self.counts),
        );
    }

    /// Has everybody read to the end, and tells what was wrong.
    fn end(&mut self) -> Result<bool> {
        self.resume_if_due(true)?;
        self.hub.call(self.feeder, json!({ "cmd": "load.stop", "load": FEED }))?;
        let written = std::mem::take(&mut self.hub.loads.entry(FEED.to_owned()).or_default().acked);
        let lacking = |hub: &Hub| {
            let lacks = |(group, ledger): (&String, &Ledger)| {
                let (partition, offset) = ledger.lacks(&written)?;
                Some(format!("{group} lacks {partition} @{offset}"))
            };
            hub.ledgers.iter().find_map(lacks)
        };
        let read = self.hub.wait("all is read", READ_PATIENCE, |hub| lacking(hub).is_none());
        let mut wrong: Vec<String> = lacking(&self.hub).into_iter().collect();
        if read.is_err() {
            println!("{:?}", self.hub);
        }
        self.audit()?;
        self.report();
        for (group, ledger) in &self.hub.ledgers {
            wrong.extend(ledger.went_back.iter().map(|text| format!("{group}: {text}")));
        }
        let problems = self.hub.loads.values().flat_map(|load| &load.problems);
        wrong.extend(problems.map(|problem| format!("the feed: {problem}")));
        for (name, member) in &self.hub.members {
            let doomed = name.starts_with(DOOMED);
            if member.losses > 0 && !doomed {
                println!("{name} was told {} times that its partitions are lost", member.losses);
            }
            let failed = member.problems.iter().filter(|it| it.contains("\"failed\"") && !doomed);
            wrong.extend(failed.map(|problem| format!("{name}: {problem}")));
        }
        wrong.extend(self.proxy.told().1.iter().map(|text| format!("told wrong: {text}")));
        wrong.extend(self.audit.found.iter().map(|found| format!("expelled: {found}")));
        if self.stuck > 0 {
            wrong.push(format!("groups did not come to rest, {} times", self.stuck));
        }
        for text in &wrong {
            println!("WRONG: {text}");
        }
        println!(
            "{} records read by {} groups, {} rebalances, {} expelled: {}",
            written.len(),
            self.hub.ledgers.len(),
            self.audit.rebalances,
            self.audit.found.len(),
            if wrong.is_empty() { "passed" } else { "FAILED" },
        );
        Ok(wrong.is_empty())
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

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn counted(counts: &BTreeMap<String, usize>) -> String {
    let counts: Vec<String> =
        counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    counts.join(", ")
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
/// A pause and the heartbeat before it are less than the sessions of 45 seconds.
const PAUSE: Range<Duration> = Duration::from_millis(100)..Duration::from_secs(25);
const STALL: Range<Duration> = Duration::from_millis(100)..Duration::from_secs(8);
const IDLE: Duration = Duration::from_secs(4);
/// Some are shorter than the 3 seconds between two heartbeats of the classic protocol.
const BROKER_IDLE: Range<Duration> = Duration::from_millis(1_200)..Duration::from_secs(8);
/// Strikes that are closer to each other are several.
const STRIKES_APART: Duration = Duration::from_secs(3);
/// How long after several connections were struck nobody is paused: clients are back by then.
const SEVERAL_BEFORE: Duration = Duration::from_secs(4);
/// How much of what was done is told with what came of it.
const RECENT: usize = 12;
const LOOK: Duration = Duration::from_millis(20);
const START_PATIENCE: Duration = Duration::from_secs(120);
const SETTLE_PATIENCE: Duration = Duration::from_secs(90);
const READ_PATIENCE: Duration = Duration::from_secs(120);
