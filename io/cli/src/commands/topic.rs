//! `kohort topic`: create, list, describe, alter and delete topics.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Subcommand};
use kohort::TopicPartition;
use kohort::admin::{Admin, ConfigChange, ConfigResource, ConfigSource, NewTopic, OffsetSpec};

use super::{Cluster, ask, name_value};
use crate::output::{Table, or_dash, print};

/// Create, list, describe, alter and delete topics.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a topic
    Create {
        /// Its name
        name: String,
        /// Number of partitions; without it the broker's default
        #[arg(long, short = 'p', value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// Number of replicas; without it the cluster's default
        #[arg(long, value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// Set a topic config under Kafka's name; may be repeated
        #[arg(long, value_name = "NAME=VALUE", value_parser = name_value)]
        config: Vec<(String, String)>,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// List topics, one name a line
    List {
        /// Show the broker's own topics as well
        #[arg(long)]
        internal: bool,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Show a topic's partitions with their offsets, and the configs that are set on it
    Describe {
        /// Names of topics
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Give a topic more partitions or other configs
    #[command(group = ArgGroup::new("change").required(true).multiple(true))]
    Alter {
        /// Its name
        name: String,
        /// Raise its number of partitions to this
        #[arg(long, short = 'p', group = "change", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// Set a topic config under Kafka's name; may be repeated
        #[arg(long, value_name = "NAME=VALUE", group = "change", value_parser = name_value)]
        config: Vec<(String, String)>,
        /// Take a topic config away, so that the broker's value counts again; may be repeated
        #[arg(long, value_name = "NAME", group = "change")]
        delete_config: Vec<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Delete topics with all their records
    Delete {
        /// Names of topics
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
}

/// Runs one verb.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    ask(async move {
        match args.verb {
            Verb::Create { name, partitions, replication_factor, config, cluster } => {
                let mut topic = NewTopic::new(&name);
                if let Some(count) = partitions {
                    topic = topic.partitions(count);
                }
                if let Some(count) = replication_factor {
                    topic = topic.replication_factor(count);
                }
                for (name, value) in config {
                    topic = topic.config(name, value);
                }
                let admin = cluster.admin()?;
                admin.create_topic(topic).await?;
                wait_until_served(&admin, &name).await?;
                eprintln!("created topic `{name}`");
            }
            Verb::List { internal, cluster } => {
                let topics = cluster.admin()?.list_topics().await?;
                let shown = topics.iter().filter(|topic| internal || !topic.internal);
                let lines: String = shown.map(|topic| format!("{}\n", topic.name)).collect();
                print(&lines)?;
            }
            Verb::Describe { names, cluster } => {
                let admin = cluster.admin()?;
                describe(&admin, names).await?;
            }
            Verb::Alter { name, partitions, config, delete_config, cluster } => {
                let set = config.into_iter().map(|(key, value)| ConfigChange::Set(key, value));
                let delete = delete_config.into_iter().map(ConfigChange::Delete);
                let changes: Vec<ConfigChange> = set.chain(delete).collect();
                let admin = cluster.admin()?;
                if !changes.is_empty() {
                    admin.alter_config(ConfigResource::Topic(name.clone()), changes).await?;
                    eprintln!("changed the configs of topic `{name}`");
                }
                if let Some(total) = partitions {
                    admin.create_partitions_of(&name, total).await?;
                    eprintln!("topic `{name}` has {total} partitions");
                }
            }
            Verb::Delete { names, cluster } => {
                let results = cluster.admin()?.delete_topics(names).await?;
                return Ok(super::each(results, |name| eprintln!("deleted topic `{name}`")));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Waits until brokers know the topic and its leaders: a cluster's controller answers before they
/// do, and the next command must find the topic.
async fn wait_until_served(admin: &Admin, name: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + SERVED_DEADLINE;
    loop {
        let described = admin.describe_topics(vec![name.to_owned()]).await?.remove(name);
        let served = described.and_then(Result::ok).is_some_and(|topic| {
            !topic.partitions.is_empty() && topic.partitions.iter().all(|p| p.leader >= 0)
        });
        if served {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("topic `{name}` was created, but no broker leads all its partitions yet");
        }
        tokio::time::sleep(SERVED_POLL).await;
    }
}

/// Leaders are chosen within moments, or something is wrong with the cluster.
const SERVED_DEADLINE: Duration = Duration::from_secs(10);
/// How often the brokers are asked.
const SERVED_POLL: Duration = Duration::from_millis(50);

async fn describe(admin: &Admin, names: Vec<String>) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "TOPIC",
        "PARTITION",
        "LEADER",
        "REPLICAS",
        "IN-SYNC",
        "START-OFFSET",
        "END-OFFSET",
    ]);
    let mut configs = Table::new(&["TOPIC", "CONFIG", "VALUE"]);
    let mut has_configs = false;
    for (name, topic) in admin.describe_topics(names).await? {
        let topic = topic?;
        let wanted = |spec| -> BTreeMap<TopicPartition, OffsetSpec> {
            let partition = |p: &kohort::admin::PartitionView| TopicPartition::new(&*name, p.index);
            topic.partitions.iter().map(|p| (partition(p), spec)).collect()
        };
        let starts = admin.list_offsets(wanted(OffsetSpec::Earliest)).await?;
        let ends = admin.list_offsets(wanted(OffsetSpec::Latest)).await?;
        for partition in &topic.partitions {
            let key = TopicPartition::new(&*name, partition.index);
            let offset = |of: &BTreeMap<_, Result<kohort::admin::ListedOffset, _>>| {
                or_dash(of.get(&key).and_then(|r| r.as_ref().ok()).and_then(|o| o.offset))
            };
            table.row([
                name.clone(),
                partition.index.to_string(),
                partition.leader.to_string(),
                joined(&partition.replicas),
                joined(&partition.in_sync_replicas),
                offset(&starts),
                offset(&ends),
            ]);
        }
        let entries = admin
            .describe_config(ConfigResource::Topic(name.clone()))
            .await
            .with_context(|| format!("cannot describe the configs of topic `{name}`"))?;
        for entry in entries.into_iter().filter(|e| e.source == ConfigSource::Topic) {
            configs.row([name.clone(), entry.name, entry.value.unwrap_or_default()]);
            has_configs = true;
        }
    }
    table.print()?;
    if has_configs {
        print("\n")?;
        configs.print()?;
    }
    Ok(())
}

fn joined(nodes: &[i32]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Parses `TOPIC` or `TOPIC:0,1,2` as Kafka's tools write a set of partitions.
pub(crate) fn topic_partitions(text: &str) -> anyhow::Result<(String, Option<Vec<i32>>)> {
    let Some((topic, list)) = text.split_once(':') else {
        return Ok((text.to_owned(), None));
    };
    let mut partitions = Vec::new();
    for number in list.split(',') {
        match number.trim().parse::<i32>() {
            Ok(partition) if partition >= 0 => partitions.push(partition),
            _ => bail!("`{number}` in `{text}` is not a partition number"),
        }
    }
    Ok((topic.to_owned(), Some(partitions)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_may_name_some_of_its_partitions() {
        assert_eq!(topic_partitions("t").unwrap(), ("t".to_owned(), None));
        assert_eq!(topic_partitions("t:0,2").unwrap(), ("t".to_owned(), Some(vec![0, 2])));
        assert_eq!(
            topic_partitions("t:a").unwrap_err().to_string(),
            "`a` in `t:a` is not a partition number"
        );
    }
}
