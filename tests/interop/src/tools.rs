//! Kafka's own tools on the broker under test and, in the same run, on Apache Kafka: each command must
//! print the same on both, to the letter, and end with the same status.
//!
//! Both brokers are fresh, so that what lists everything lists the same. Only what cannot be equal is
//! replaced by a word: addresses, topic ids and the random part of member ids. Of a Java stack trace
//! the first line is compared, the frames are not. A listing is compared without regard to its order,
//! which Kafka does not promise.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::broker::{Broker, Kind};
use crate::hub::{Client, DriverId, Hub};
use crate::places::Places;
use crate::suite::{Test, World};

/// Returns a test for each tool.
pub(crate) fn tests() -> Vec<Test> {
    SCRIPTS
        .iter()
        .map(|(tool, steps)| {
            let name = format!("tools::{tool}_says_what_it_says_on_kafka");
            Test::new(name, move |world| check(world, steps))
        })
        .collect()
}

/// A broker with a driver to run tools in.
pub(crate) struct Bench {
    broker: Broker,
    hub: Hub,
    driver: DriverId,
}

/// The broker under test beside Apache Kafka.
pub(crate) struct Pair {
    tested: Bench,
    reference: Bench,
}

impl Pair {
    fn start(places: &Places, kind: Kind) -> Result<Self> {
        let bench = |kind| -> Result<Bench> {
            let broker = Broker::start(kind, places)?;
            let mut hub = Hub::new(places, broker.address());
            let driver = hub.driver(Client::Java)?;
            Ok(Bench { broker, hub, driver })
        };
        Ok(Self { tested: bench(kind)?, reference: bench(Kind::Kafka)? })
    }
}

/// One thing to do on both brokers.
enum Step {
    /// Run a tool with these arguments and this stdin; on Kafka its output contains the last string.
    Run(Tool, &'static [&'static str], &'static str, &'static str),
    /// Run a tool that is refused: the status is the same and the output contains the last string on
    /// both; the reason behind it is in each broker's own words.
    Refused(Tool, &'static [&'static str], &'static str),
    /// Start a member of a group (member, group, topic) and wait until it owns so many partitions.
    Join(&'static str, &'static str, &'static str, usize),
    /// Have a member leave.
    Leave(&'static str),
}

/// A tool of Kafka, by the name of its script.
#[derive(Debug, Clone, Copy)]
enum Tool {
    Topics,
    ConsoleProducer,
    ConsoleConsumer,
    ConsumerGroups,
    Configs,
    GetOffsets,
}

impl Tool {
    fn class(self) -> &'static str {
        match self {
            Self::Topics => "org.apache.kafka.tools.TopicCommand",
            Self::ConsoleProducer => "org.apache.kafka.tools.ConsoleProducer",
            Self::ConsoleConsumer => "org.apache.kafka.tools.consumer.ConsoleConsumer",
            Self::ConsumerGroups => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            Self::Configs => "kafka.admin.ConfigCommand",
            Self::GetOffsets => "org.apache.kafka.tools.GetOffsetShell",
        }
    }
}

/// What a tool printed, made comparable.
#[derive(Debug, PartialEq)]
struct Printed {
    stdout: String,
    stderr: String,
    status: i64,
}

impl Printed {
    fn shows(&self, words: &str) -> bool {
        self.stdout.contains(words) || self.stderr.contains(words)
    }
}

fn check(world: &mut World, steps: &[Step]) -> Result<()> {
    if world.pair.is_none() {
        world.pair = Some(Pair::start(&world.places, world.kind)?);
    }
    let pair = world.pair.as_mut().context("the pair was just started")?;
    let mut differences = Vec::new();
    for step in steps {
        let on_kafka = carry_out(&mut pair.reference, step).context("on Kafka")?;
        let here = carry_out(&mut pair.tested, step).context("on the broker under test")?;
        let (tool, arguments, shown, own_words) = match step {
            Run(tool, arguments, _, shown) => (tool, arguments, shown, false),
            Refused(tool, arguments, shown) => (tool, arguments, shown, true),
            Join(..) | Leave(_) => continue,
        };
        let command = format!("{tool:?} {}", arguments.join(" "));
        ensure!(
            on_kafka.shows(shown),
            "{command} on Kafka does not show {shown:?} but {on_kafka:?}"
        );
        let same = if own_words {
            here.status == on_kafka.status && here.shows(shown)
        } else {
            here == on_kafka
        };
        if !same {
            differences.push(format!(
                "{command}\n  on Kafka, status {}:\n{}{}\n  here, status {}:\n{}{}",
                on_kafka.status,
                on_kafka.stdout,
                on_kafka.stderr,
                here.status,
                here.stdout,
                here.stderr
            ));
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

fn carry_out(bench: &mut Bench, step: &Step) -> Result<Printed> {
    let nothing = Printed { stdout: String::new(), stderr: String::new(), status: 0 };
    match step {
        Run(tool, arguments, stdin, _) => run(bench, *tool, arguments, stdin),
        Refused(tool, arguments, _) => run(bench, *tool, arguments, ""),
        Join(member, group, topic, owned) => {
            let start = json!({
                "cmd": "member.start", "member": member, "group": group, "topic": topic,
            });
            bench.hub.call(bench.driver, start)?;
            bench.hub.wait("the member has joined", crate::groups::JOIN_TIMEOUT, |hub| {
                hub.members.get(*member).is_some_and(|view| view.owned.len() == *owned)
            })?;
            Ok(nothing)
        }
        Leave(member) => {
            let stop = json!({ "cmd": "member.stop", "member": member });
            bench.hub.call(bench.driver, stop)?;
            Ok(nothing)
        }
    }
}

fn run(bench: &mut Bench, tool: Tool, arguments: &[&str], stdin: &str) -> Result<Printed> {
    let address = bench.broker.address();
    let mut all = vec!["--bootstrap-server", &address];
    all.extend(arguments);
    let command = json!({
        "cmd": "tool", "class": tool.class(), "args": all, "stdin": stdin,
    });
    let answer = bench.hub.call(bench.driver, command)?;
    let sorted = arguments.contains(&"--list");
    let text =
        |field: &str| comparable(answer[field].as_str().unwrap_or_default(), &address, sorted);
    Ok(Printed {
        stdout: text("stdout"),
        stderr: text("stderr"),
        status: answer["status"].as_i64().context("the driver told no status")?,
    })
}

/// Replaces what cannot be equal on two brokers.
fn comparable(text: &str, address: &str, sorted: bool) -> String {
    let text = text.replace(address, "BROKER-ADDRESS_");
    let mut lines: Vec<String> =
        text.lines().filter(|line| !is_stack_frame(line)).map(without_ids).collect();
    if sorted {
        lines.sort();
    }
    lines.iter().map(|line| line.clone() + "\n").collect()
}

fn is_stack_frame(line: &str) -> bool {
    line.starts_with("\tat ") || line.starts_with("\t... ") || line.starts_with("Caused by: ")
}

/// Replaces topic ids (`TopicId: …`) and the UUIDs in member ids, which have fixed lengths.
fn without_ids(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut after_label = false;
    for word in line.split_inclusive([' ', '\t']) {
        let bare = word.trim_end();
        let length = bare.len();
        let bytes = bare.as_bytes();
        let is_uuid_at = |at: usize| {
            [8, 13, 18, 23].iter().all(|dash| bytes.get(at + dash) == Some(&b'-'))
                && bytes[at..].iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
        };
        if after_label {
            words.push(word.replacen(bare, "TOPIC-ID", 1));
        } else if length >= 36 && is_uuid_at(length - 36) {
            let uuid = &bare[length - 36..];
            words.push(word.replacen(uuid, "UUID", 1));
        } else {
            words.push(word.to_owned());
        }
        after_label = bare == "TopicId:";
    }
    words.concat()
}

use Step::{Join, Leave, Refused, Run};
use Tool::{Configs, ConsoleConsumer, ConsoleProducer, ConsumerGroups, GetOffsets, Topics};

const SCRIPTS: &[(&str, &[Step])] = &[
    ("kafka_topics", TOPICS),
    ("kafka_console_producer_and_consumer", CONSOLE),
    ("kafka_consumer_groups", GROUPS),
    ("kafka_configs", CONFIGS),
    ("kafka_get_offsets", OFFSETS),
];

const TOPICS: &[Step] = &[
    Run(Topics, &["--list"], "", ""),
    Run(Topics, &["--create", "--topic", "trees", "--partitions", "3"], "", "Created topic trees."),
    Run(Topics, &["--create", "--topic", "trees"], "", "already exists"),
    Run(Topics, &["--create", "--topic", "trees", "--if-not-exists"], "", ""),
    Refused(Topics, &["--create", "--topic", "a/b"], "name is invalid: 'a/b' "),
    Refused(
        Topics,
        &["--create", "--topic", "far", "--replication-factor", "3"],
        "Unable to replicate the partition 3 time(s): ",
    ),
    Run(Topics, &["--create", "--topic", "plain"], "", "Created topic plain."),
    Run(
        Topics,
        &["--create", "--topic", "tuned", "--config", "retention.ms=60000"],
        "",
        "Created topic tuned.",
    ),
    Run(Topics, &["--create", "--topic", "odd", "--config", "no.such=1"], "", "no.such"),
    Run(Topics, &["--list"], "", "plain\ntrees\ntuned\n"),
    Run(Topics, &["--describe", "--topic", "trees"], "", "PartitionCount: 3"),
    Run(Topics, &["--describe", "--topic", "tuned"], "", "retention.ms=60000"),
    Run(Topics, &["--describe", "--topic", "nowhere"], "", "does not exist"),
    Run(Topics, &["--alter", "--topic", "trees", "--partitions", "5"], "", ""),
    Run(
        Topics,
        &["--alter", "--topic", "trees", "--partitions", "2"],
        "",
        "would not be an increase",
    ),
    Run(Topics, &["--describe", "--topic", "trees"], "", "PartitionCount: 5"),
    Run(Topics, &["--delete", "--topic", "plain"], "", ""),
    Run(Topics, &["--delete", "--topic", "plain"], "", "does not exist"),
    Run(Topics, &["--list"], "", "trees\ntuned\n"),
];

const CONSOLE: &[Step] = &[
    Run(Topics, &["--create", "--topic", "lines"], "", "Created topic lines."),
    Run(ConsoleProducer, &["--topic", "lines"], "one\ntwo\nthree\n", ""),
    Run(
        ConsoleProducer,
        &[
            "--topic",
            "lines",
            "--compression-codec",
            "zstd",
            "--reader-property",
            "parse.key=true",
            "--reader-property",
            "key.separator=:",
            "--reader-property",
            "parse.headers=true",
        ],
        "h1:v1\tk:four\n",
        "",
    ),
    Run(
        ConsoleConsumer,
        &["--topic", "lines", "--group", "listeners", "--from-beginning", "--max-messages", "4"],
        "",
        "one\ntwo\nthree\n",
    ),
    Run(
        ConsoleConsumer,
        &["--topic", "lines", "--partition", "0", "--offset", "2", "--max-messages", "1"],
        "",
        "three\n",
    ),
    Run(
        ConsoleConsumer,
        &[
            "--topic",
            "lines",
            "--group",
            "readers",
            "--from-beginning",
            "--max-messages",
            "4",
            "--formatter-property",
            "print.key=true",
            "--formatter-property",
            "print.offset=true",
            "--formatter-property",
            "print.partition=true",
            "--formatter-property",
            "print.headers=true",
        ],
        "",
        "Partition:0\tOffset:0\tNO_HEADERS\tnull\tone",
    ),
    Run(ConsoleProducer, &["--topic", "lines"], "five\n", ""),
    Run(
        ConsoleConsumer,
        &["--topic", "lines", "--group", "readers", "--max-messages", "1"],
        "",
        "five\n",
    ),
    Run(
        ConsoleConsumer,
        &["--topic", "lines", "--group", "readers", "--timeout-ms", "1000"],
        "",
        "Processed a total of 0 messages",
    ),
];

const GROUPS: &[Step] = &[
    Run(Topics, &["--create", "--topic", "work", "--partitions", "2"], "", "Created topic work."),
    Run(
        ConsoleProducer,
        &["--topic", "work", "--reader-property", "parse.key=true"],
        "a\t1\nb\t2\nc\t3\nd\t4\ne\t5\nf\t6\n",
        "",
    ),
    Run(
        ConsoleConsumer,
        &["--topic", "work", "--group", "crew", "--from-beginning", "--timeout-ms", "5000"],
        "",
        "Processed a total of 6 messages",
    ),
    Join("worker", "crew", "work", 2),
    Run(ConsumerGroups, &["--list"], "", "crew\n"),
    Run(ConsumerGroups, &["--list", "--state"], "", "Stable"),
    Run(ConsumerGroups, &["--list", "--state", "empty"], "", ""),
    Run(ConsumerGroups, &["--list", "--type", "classic"], "", "Classic"),
    Run(ConsumerGroups, &["--describe", "--group", "crew"], "", "worker"),
    Run(ConsumerGroups, &["--describe", "--group", "crew", "--verbose"], "", "LEADER-EPOCH"),
    Run(ConsumerGroups, &["--describe", "--group", "crew", "--members"], "", "#PARTITIONS"),
    Run(
        ConsumerGroups,
        &["--describe", "--group", "crew", "--members", "--verbose"],
        "",
        "work:0,1",
    ),
    Run(ConsumerGroups, &["--describe", "--group", "crew", "--state"], "", "range"),
    Run(
        ConsumerGroups,
        &["--reset-offsets", "--group", "crew", "--topic", "work", "--to-earliest", "--execute"],
        "",
        "inactive",
    ),
    Run(ConsumerGroups, &["--delete", "--group", "crew"], "", "crew"),
    Leave("worker"),
    Run(ConsumerGroups, &["--list", "--state"], "", "Empty"),
    Run(ConsumerGroups, &["--describe", "--group", "crew"], "", "no active members"),
    Run(ConsumerGroups, &["--describe", "--group", "crew", "--state"], "", "Empty"),
    Run(ConsumerGroups, &["--describe", "--group", "crew", "--members"], "", "no active members"),
    Run(
        ConsumerGroups,
        &["--reset-offsets", "--group", "crew", "--topic", "work", "--to-earliest", "--dry-run"],
        "",
        "NEW-OFFSET",
    ),
    Run(
        ConsumerGroups,
        &[
            "--reset-offsets",
            "--group",
            "crew",
            "--all-topics",
            "--to-latest",
            "--export",
            "--dry-run",
        ],
        "",
        "work",
    ),
    Run(
        ConsumerGroups,
        &[
            "--reset-offsets",
            "--group",
            "crew",
            "--topic",
            "work:0",
            "--to-offset",
            "1",
            "--execute",
        ],
        "",
        "crew",
    ),
    Run(
        ConsumerGroups,
        &["--reset-offsets", "--group", "crew", "--topic", "work", "--shift-by", "-1", "--execute"],
        "",
        "crew",
    ),
    Run(
        ConsumerGroups,
        &[
            "--reset-offsets",
            "--group",
            "crew",
            "--topic",
            "work",
            "--to-offset",
            "99",
            "--execute",
        ],
        "",
        "crew",
    ),
    Run(
        ConsumerGroups,
        &[
            "--reset-offsets",
            "--group",
            "crew",
            "--topic",
            "work",
            "--to-datetime",
            "2020-01-01T00:00:00.000",
            "--execute",
        ],
        "",
        "crew",
    ),
    Run(ConsumerGroups, &["--describe", "--group", "crew"], "", "work"),
    Run(ConsumerGroups, &["--delete-offsets", "--group", "crew", "--topic", "work:1"], "", "work"),
    Run(ConsumerGroups, &["--describe", "--group", "crew"], "", "work"),
    Run(ConsumerGroups, &["--delete", "--group", "crew"], "", "was successful"),
    Run(ConsumerGroups, &["--delete", "--group", "crew"], "", "crew"),
    Run(ConsumerGroups, &["--describe", "--group", "crew"], "", "not found"),
    Run(ConsumerGroups, &["--describe", "--group", "crew", "--state"], "", ""),
];

const CONFIGS: &[Step] = &[
    Run(Topics, &["--create", "--topic", "knobs"], "", "Created topic knobs."),
    Run(Configs, &["--describe", "--topic", "knobs"], "", "Dynamic configs for topic knobs are:"),
    Run(
        Configs,
        &[
            "--alter",
            "--topic",
            "knobs",
            "--add-config",
            "retention.ms=90000,cleanup.policy=compact",
        ],
        "",
        "Completed updating config for topic knobs.",
    ),
    Run(Configs, &["--describe", "--topic", "knobs"], "", "retention.ms=90000"),
    Run(
        Configs,
        &["--alter", "--topic", "knobs", "--delete-config", "retention.ms"],
        "",
        "Completed updating config for topic knobs.",
    ),
    Run(Configs, &["--describe", "--topic", "knobs"], "", "cleanup.policy=compact"),
    Run(Configs, &["--alter", "--topic", "knobs", "--add-config", "no.such=1"], "", "no.such"),
    Refused(
        Configs,
        &["--alter", "--topic", "knobs", "--add-config", "retention.ms=x"],
        "InvalidConfigurationException: Invalid value x for configuration retention.ms: ",
    ),
    Run(Configs, &["--describe", "--topic", "nowhere"], "", "nowhere"),
];

const OFFSETS: &[Step] = &[
    Run(Topics, &["--create", "--topic", "marks", "--partitions", "2"], "", "Created topic marks."),
    Run(GetOffsets, &["--topic", "marks"], "", "marks:0:0\nmarks:1:0\n"),
    Run(
        ConsoleProducer,
        &["--topic", "marks", "--reader-property", "parse.key=true"],
        "a\t0\n",
        "",
    ),
    Run(GetOffsets, &["--topic", "marks", "--time", "max-timestamp"], "", "marks:0:"),
    Run(
        ConsoleProducer,
        &["--topic", "marks", "--reader-property", "parse.key=true"],
        "a\t1\nb\t2\nc\t3\nd\t4\n",
        "",
    ),
    Run(GetOffsets, &["--topic", "marks"], "", "marks:0:"),
    Run(GetOffsets, &["--topic", "marks", "--time", "earliest"], "", "marks:0:0\nmarks:1:0\n"),
    Run(GetOffsets, &["--topic", "marks", "--time", "1000"], "", "marks:0:0\nmarks:1:0\n"),
    Run(GetOffsets, &["--topic-partitions", "marks:1", "--time", "latest"], "", "marks:1:"),
    Run(GetOffsets, &["--topic", "nowhere"], "", ""),
];
