//! What is done to members, their connections and the broker.

use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::json;

use super::audit::{DOOMED, WATCHER};
use super::proxy::{Fault, LinkView};
use super::{Paused, Run, SETTLE_PATIENCE, groups, processes};
use crate::hub::Client;

impl Run {
    pub(super) fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    /// Remembers what is done to whom, to tell it with what may come of it.
    pub(super) fn note(&mut self, what: String) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((unix_ms(), what));
    }

    /// Returns the process that a connection is of.
    pub(super) fn whose(&self, link: &LinkView) -> String {
        let drivers = self.players.iter().chain(&self.doomed);
        let mut drivers = drivers.map(|it| (&*it.name, it.driver)).chain([("feed", self.feeder)]);
        let has = |driver| {
            processes::ports(self.hub.pid(driver)).is_ok_and(|ports| ports.contains(&link.port))
        };
        let found = drivers.find(|(_, driver)| has(*driver));
        format!("{} of {}", link.client_id, found.map_or("nobody", |(name, _)| name))
    }

    /// Takes in that connections are struck.
    pub(super) fn struck(&mut self, count: usize) {
        let now = Instant::now();
        if count > 1 || self.struck.is_some_and(|at| now < at + STRIKES_APART) {
            self.struck_several = Some(now);
        }
        if count > 0 {
            self.struck = Some(now);
        }
    }

    pub(super) fn minutes(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() / 60.0
    }

    /// Returns the links that may be struck.
    pub(super) fn links(&self) -> Vec<LinkView> {
        let spared = self.paused.as_ref().map(|paused| &paused.ports);
        let mut links = self.proxy.links();
        links.retain(|link| {
            link.client_id != WATCHER && !spared.is_some_and(|ports| ports.contains(&link.port))
        });
        links
    }

    /// Strikes one connection, or all under one name.
    pub(super) fn strike(&mut self) {
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
    pub(super) fn end_idle(&mut self) {
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
    pub(super) fn pause(&mut self) -> Result<()> {
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

    pub(super) fn resume_if_due(&mut self, now: bool) -> Result<()> {
        if let Some(paused) = self.paused.take_if(|it| now || Instant::now() >= it.until) {
            processes::resume(paused.pid)?;
        }
        Ok(())
    }

    /// Has a member leave in an orderly way, and join again.
    pub(super) fn leave_and_join(&mut self) -> Result<()> {
        self.resume_if_due(true)?;
        let index = self.dice.below(self.players.len());
        let own: Vec<_> =
            groups().filter(|it| it.client == Some(self.players[index].client)).collect();
        let group = *self.dice.choose(&own);
        let member = format!("{}.{}", self.players[index].name, group.name());
        self.audit.describe(&self.expected())?;
        self.audit.excuse(&member);
        self.note(format!("leave and join of {member}"));
        let mut player = self.players.remove(index);
        self.hub.call(player.driver, json!({ "cmd": "member.stop", "member": member }))?;
        self.hub.member(&member).owned.clear();
        let joined = self.join(&mut player, group);
        self.players.insert(index, player);
        self.count("leave and join");
        joined
    }

    /// Kills the process that was started to be killed, or starts one.
    pub(super) fn kill_or_start(&mut self) -> Result<()> {
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
    pub(super) fn restart_broker(&mut self) -> Result<()> {
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
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

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
