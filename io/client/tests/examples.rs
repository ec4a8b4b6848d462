//! Every example runs, against a broker, and does what it says. `cargo test` builds them; with a single
//! `--test examples` they must have been built before (`cargo build --examples`).
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use kohort::admin::Admin;
use kohort::config::{AdminConfig, Properties as _};
use kohort::producer::{Producer, ProducerRecord};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use support::{PATIENCE, bootstrap, create_topic, folder, produce, unique};

/// A running example. It is killed when this is dropped.
struct Example {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Example {
    fn start(name: &'static str, arguments: &[impl AsRef<OsStr>]) -> Self {
        Self::start_with(name, arguments, &[])
    }

    fn start_with(
        name: &'static str,
        arguments: &[impl AsRef<OsStr>],
        more: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(binary(name))
            .args(arguments)
            .env("BOOTSTRAP_SERVERS", bootstrap())
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // Nobody listens any more once the test is over.
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { name, child, lines, seen: Vec::new() }
    }

    /// Reads on until `done` holds of all lines so far.
    fn until(&mut self, done: impl Fn(&[String]) -> bool) -> &[String] {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("{} only said {:?}", self.name, self.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!(
                        "{} ended with {:?}, having said {:?}",
                        self.name,
                        self.child.wait(),
                        self.seen
                    )
                }
            }
        }
        &self.seen
    }

    /// Reads on until a line begins so; returns the rest of it.
    fn line(&mut self, beginning: &str) -> String {
        let at = |lines: &[String]| lines.iter().position(|line| line.starts_with(beginning));
        let lines = self.until(|lines| at(lines).is_some());
        lines[at(lines).unwrap()][beginning.len()..].to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Stops it, and waits until it has.
    fn stop(&self) {
        self.signal(Signal::STOP);
        waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).unwrap()
    }

    /// Waits for the end, reads the last lines and returns whether it ended well.
    fn end(mut self) -> (bool, Vec<String>) {
        let success = self.child.wait().unwrap().success();
        self.seen.extend(self.lines.iter());
        (success, std::mem::take(&mut self.seen))
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where cargo puts examples: beside the folder of the tests.
fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.is_file(), "{} is not there: `cargo build --examples`", path.display());
    path
}

/// A topic with `count` records in each partition, whose values count up from 0.
async fn topic(name: &str, partitions: i32, count: u64) -> String {
    let topic = unique(name);
    create_topic(&bootstrap(), &topic, partitions).await;
    if count > 0 {
        produce(&bootstrap(), &topic, partitions, 0, count).await;
    }
    topic
}

/// How many lines hold this.
fn count(lines: &[String], part: &str) -> usize {
    lines.iter().filter(|line| line.contains(part)).count()
}

#[tokio::test]
async fn consumer_prints_every_record() {
    let topic = topic("consumer", 2, 5).await;
    let mut example = Example::start("consumer", &[&topic]);
    example.until(|lines| lines.len() == 10);
}

#[tokio::test]
async fn at_most_once_never_repeats_itself() {
    let topic = topic("at-most-once", 1, 3).await;
    let group = unique("group");
    let mut example = Example::start("at_most_once", &[&group, &topic]);
    example.until(|lines| lines.len() == 3);
    drop(example);
    produce(&bootstrap(), &topic, 1, 3, 1).await;
    // What was handled was committed before, so a member that was killed has nothing to repeat. Its
    // place in the group is free at the end of its session only; another group member waits for it.
    let admin = admin();
    let committed = admin.group_offsets(&group).await.unwrap();
    assert_eq!(committed.values().map(|it| it.offset).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn at_least_once_commits_what_it_has_handled() {
    let topic = topic("at-least-once", 1, 3).await;
    let group = unique("group");
    let mut example = Example::start("at_least_once", &[&group, &topic]);
    example.until(|lines| lines == ["0: 0", "1: 1", "2: 2"]);
    let admin = admin();
    support::until(|| async {
        let committed = admin.group_offsets(&group).await.unwrap();
        committed.values().any(|it| it.offset == 3).then_some(())
    })
    .await;
}

fn admin() -> Admin {
    let config = AdminConfig::from_pairs([("bootstrap.servers", bootstrap())]).unwrap();
    Admin::new(config).unwrap()
}

#[tokio::test]
async fn a_consumer_per_thread_shares_the_partitions_out() {
    let topic = topic("threads", 2, 0).await;
    let mut example = Example::start("consumer_per_thread", &[&unique("group"), &topic, "2"]);
    // Records are written until both threads have had some.
    let mut next = 0;
    loop {
        produce(&bootstrap(), &topic, 2, next, 1).await;
        next += 1;
        let expected = usize::try_from(next).unwrap() * 2;
        let lines = example.until(|lines| lines.len() >= expected);
        if count(lines, "thread 0") > 0 && count(lines, "thread 1") > 0 {
            break;
        }
    }
}

#[tokio::test]
async fn a_pool_of_workers_has_one_for_each_partition() {
    let topic = topic("pool", 3, 4).await;
    let group = unique("group");
    let mut example = Example::start("worker_pool", &[&group, &topic]);
    let lines = example.until(|lines| count(lines, " @") == 12);
    assert_eq!(count(lines, "worker of"), 3);
    for partition in 0..3 {
        let of_this = format!("{topic}-{partition} @");
        let read: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix(&of_this)).collect();
        assert_eq!(read, ["0: 0", "1: 1", "2: 2", "3: 3"], "in order");
    }
    let admin = admin();
    support::until(|| async {
        let committed = admin.group_offsets(&group).await.unwrap();
        (committed.len() == 3 && committed.values().all(|it| it.offset == 4)).then_some(())
    })
    .await;
}

/// The results in a database, as (partition, offset).
fn results(file: &str) -> Vec<(i32, i64)> {
    let database = Connection::open(file).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    let mut select =
        database.prepare("select part, offset from results order by part, offset").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test]
async fn results_are_stored_exactly_once_though_a_zombie_comes_back() {
    const RECORDS: i64 = 300;
    let short = [("SESSION_TIMEOUT", "1500")];
    let folder = folder();
    let (topic, arguments, mut zombie, stored) = loop {
        let topic = topic("exactly-once", 1, RECORDS as u64).await;
        let file = folder.join(unique("results")).display().to_string();
        let arguments = [unique("group"), topic.clone(), file.clone()];
        let mut zombie = Example::start_with("exactly_once_sqlite", &arguments, &short);
        zombie.line("stored");
        // It stops in the middle of what it has read; perhaps inside a transaction, which would keep the
        // database locked: then it is let on a little.
        zombie.stop();
        while locked(&file) {
            zombie.signal(Signal::CONT);
            while locked(&file) {
                std::thread::yield_now();
            }
            zombie.stop();
        }
        let stored = results(&file).len();
        // On a busy machine it may come to the end before it is stopped: then another one is.
        if stored < RECORDS as usize {
            break (topic, arguments, zombie, stored);
        }
    };
    let file = &arguments[2];
    let mut heir = Example::start("exactly_once_sqlite", &arguments);
    let from = heir.line(&format!("claimed {topic}-0 from "));
    assert_eq!(from.split(' ').next().unwrap(), stored.to_string(), "where the other stopped");
    zombie.signal(Signal::CONT);
    zombie.line("fenced");
    heir.until(|lines| count(lines, &format!("@{}", RECORDS - 1)) > 0);
    let expected: Vec<_> = (0..RECORDS).map(|offset| (0, offset)).collect();
    assert_eq!(results(file), expected);
}

/// Its generations begin anew, and must not be taken for older ones.
#[tokio::test]
async fn results_are_stored_on_after_the_group_was_removed() {
    let topic = topic("removed", 1, 5).await;
    let group = unique("group");
    let folder = folder();
    let file = folder.join("results.db").display().to_string();
    let arguments = [&*group, &*topic, &*file];
    let short = [("SESSION_TIMEOUT", "1500")];
    // Each joins anew: the generation is above 1 when the group goes.
    for _ in 0..2 {
        let mut example = Example::start_with("exactly_once_sqlite", &arguments, &short);
        example.line(&format!("claimed {topic}-0 "));
        example.until(|_| results(&file).len() == 5);
    }
    let admin = admin();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let deleted = admin.delete_groups(vec![group.clone()]).await.unwrap().remove(&group);
        match deleted.unwrap() {
            // Without offsets it may be gone with its last member.
            Err(why) if !why.to_string().contains("GROUP_ID_NOT_FOUND") => {
                assert!(Instant::now() < deadline, "{why}");
            }
            _ => break,
        }
    }
    produce(&bootstrap(), &topic, 1, 5, 5).await;
    let mut example = Example::start_with("exactly_once_sqlite", &arguments, &short);
    let from = example.line(&format!("claimed {topic}-0 from "));
    assert!(from.starts_with("5 in epoch "), "{from}");
    example.until(|lines| count(lines, "@9") == 1);
    assert_eq!(results(&file), (0..10).map(|offset| (0, offset)).collect::<Vec<_>>());
}

/// Whether somebody is inside a transaction that writes.
fn locked(file: &str) -> bool {
    let database = Connection::open(file).unwrap();
    database.busy_timeout(std::time::Duration::ZERO).unwrap();
    database.execute_batch("begin immediate; rollback").is_err()
}

#[tokio::test]
async fn a_pattern_takes_in_topics_that_come_later() {
    let first = topic("pattern-a", 1, 1).await;
    let shared = first.trim_start_matches("pattern-a-").to_owned();
    let regex = format!("pattern-.*{shared}.*");
    let mut example = Example::start("pattern", &[&unique("group"), &regex]);
    example.line(&format!("{first}: 0"));
    let second = format!("pattern-b-{shared}");
    create_topic(&bootstrap(), &second, 1).await;
    produce(&bootstrap(), &second, 1, 0, 1).await;
    example.line(&format!("{second}: 0"));
}

#[tokio::test]
async fn a_static_member_takes_its_place_back_without_a_rebalance() {
    let topic = topic("static", 2, 1).await;
    let group = unique("group");
    let arguments = [&*group, &*topic, "carol"];
    let mut example = Example::start("static_member", &arguments);
    let owned = example.line("carol owns ");
    assert!(owned.contains(&format!("{topic}-0 {topic}-1")), "{owned}");
    example.until(|lines| count(lines, "carol read") == 2);
    example.signal(Signal::TERM);
    assert!(example.end().0);
    let mut again = Example::start("static_member", &arguments);
    assert_eq!(again.line("carol owns "), owned, "the same partitions in the same generation");
    produce(&bootstrap(), &topic, 2, 1, 1).await;
    let lines = again.until(|lines| count(lines, "carol read") == 2);
    assert_eq!(count(lines, "@1"), 2, "it goes on where it was: {lines:?}");
}

#[tokio::test]
async fn seeking_by_time_reads_what_is_not_older() {
    let topic = topic("since", 2, 0).await;
    let producer = Producer::builder().set("bootstrap.servers", &bootstrap()).build().unwrap();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    for ahead in 0..10 {
        let record = ProducerRecord::to(&topic).value("x").timestamp(now + ahead);
        producer.send(record.partition((ahead % 2) as i32)).await.unwrap().await.unwrap();
    }
    let since = (now + 4).to_string();
    let (success, lines) = Example::start("seek_by_time", &[&topic, &since]).end();
    assert!(success);
    assert_eq!(lines.last().unwrap(), &format!("6 records since {since}"));
    let times: BTreeSet<_> = lines.iter().filter_map(|line| line.split_once(": ")).collect();
    assert_eq!(times.len(), 6);
}

#[tokio::test]
async fn an_assignor_of_ones_own_is_used_by_the_group() {
    let topic = topic("alone", 3, 1).await;
    let group = unique("group");
    let mut one = Example::start("custom_assignor", &[&group, &topic]);
    one.line("owns 3 partitions");
    one.until(|lines| count(lines, "read") == 3);
    let described = admin().describe_groups(vec![group.clone()]).await.unwrap();
    assert_eq!(described[&group].as_ref().unwrap().assignor, "alone");
    // However many come, one has all and the others none.
    let mut other = Example::start("custom_assignor", &[&group, &topic]);
    other.until(|lines| lines.iter().any(|line| line.starts_with("owns")));
    let admin = admin();
    support::until(|| async {
        let described = admin.describe_groups(vec![group.clone()]).await.unwrap();
        let members = &described[&group].as_ref().ok()?.members;
        let mut owned: Vec<_> = members.iter().map(|it| it.partitions.len()).collect();
        owned.sort_unstable();
        (owned == [0, 3]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_graceful_shutdown_commits_and_leaves() {
    let topic = topic("shutdown", 1, 5).await;
    let group = unique("group");
    let mut example = Example::start("graceful_shutdown", &[&group, &topic]);
    example.until(|lines| lines.len() == 5);
    example.signal(Signal::TERM);
    let (success, lines) = example.end();
    assert!(success);
    assert_eq!(lines.last().unwrap(), "closed");
    let admin = admin();
    let committed = admin.group_offsets(&group).await.unwrap();
    assert_eq!(committed.values().map(|it| it.offset).collect::<Vec<_>>(), [5]);
    let described = admin.describe_groups(vec![group.clone()]).await.unwrap();
    assert!(described[&group].as_ref().unwrap().members.is_empty(), "it said goodbye");
}

#[tokio::test]
async fn json_is_written_read_and_passed_over_where_it_is_none() {
    let topic = topic("json", 1, 0).await;
    let producer = Producer::builder().set("bootstrap.servers", &bootstrap()).build().unwrap();
    let not_json = ProducerRecord::to(&topic).value("not JSON");
    producer.send(not_json).await.unwrap().await.unwrap();
    let mut example = Example::start("json", &[&unique("group"), &topic]);
    let lines = example.until(|lines| lines.len() == 3);
    assert!(
        lines[0].starts_with(&format!("the value of `{topic}-0` @0 cannot be read")),
        "{lines:?}"
    );
    assert_eq!(lines[1..], ["LH123 is 42 min late", "BA7 is 5 min late"]);
}
