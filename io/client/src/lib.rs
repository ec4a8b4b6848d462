//! A native async client for Kafka: a [`Consumer`](consumer::Consumer) that is a member of a group, a
//! [`Producer`](producer::Producer) and an [`Admin`](admin::Admin). It speaks the wire protocol itself, to
//! Kohort's broker and to Apache Kafka (tests run on 2.8 and 4.3), and needs no C library of Kafka's.
//!
//! It is not on crates.io yet, needs Rust 1.90 or later, and runs on any tokio runtime: each client has a thread of
//! its own for all that talks to brokers, so `#[tokio::main]`'s features are all that an application needs.
//!
//! ```toml
//! [dependencies]
//! kohort = { git = "https://github.com/kohort/kohort" }    # or path = "../kohort/io/client"
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! # A consumer
//! ```no_run
//! use std::time::Duration;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let consumer = kohort::consumer::Consumer::builder()
//!         .bootstrap_servers("localhost:9092")
//!         .group_id("delays")
//!         .set("auto.offset.reset", "earliest")
//!         .set("enable.auto.commit", "false")
//!         .build()?;
//!     consumer.subscribe(["flights"])?;
//!     loop {
//!         let records = consumer.poll(Duration::from_secs(1)).await?;
//!         for record in &records {
//!             println!("{}-{} at {}: {:?}", record.topic, record.partition, record.offset, record.value);
//!         }
//!         consumer.commit_sync().await?;
//!     }
//! }
//! ```
//!
//! # A producer
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use kohort::producer::{Producer, ProducerRecord};
//!
//! let producer = Producer::builder().bootstrap_servers("localhost:9092").build()?;
//! // Waits for room; the record is then in a batch. Awaiting the delivery waits for the broker's answer.
//! let delivery = producer.send(ProducerRecord::to("flights").key("LH123").value("late")).await?;
//! let written = delivery.await?;
//! println!("{}-{} at {}", written.topic, written.partition, written.offset);
//! producer.close(std::time::Duration::from_secs(5)).await?;
//! # Ok(()) }
//! ```
//!
//! # An administrator
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use kohort::ErrorCode;
//! use kohort::admin::{Admin, NewTopic};
//!
//! let admin = Admin::builder().bootstrap_servers("localhost:9092").build()?;
//! match admin.create_topic(NewTopic::new("flights").partitions(6)).await {
//!     Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {}
//!     created => drop(created?),
//! }
//! for group in admin.list_groups().await? {
//!     println!("{} is {}", group.group_id, group.state);
//! }
//! # Ok(()) }
//! ```
//!
//! # A broker for tests
//! The crate `kohort-broker`, of the same repository, is a whole broker in the test's own process:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! use kohort::producer::{Producer, ProducerRecord};
//! use kohort_broker::Broker;
//!
//! let folder = tempfile::tempdir()?;
//! let broker = Broker::builder().listen("127.0.0.1:0").data_dir(folder.path()).start().await?;
//! let servers = broker.local_addr().to_string();
//!
//! let producer = Producer::builder().bootstrap_servers(&servers).build()?;
//! let written = producer.send(ProducerRecord::to("flights").value("late")).await?.await?;
//! assert_eq!(written.offset, 0);
//! producer.close(std::time::Duration::from_secs(5)).await?;
//! broker.shutdown().await?;
//! # Ok(()) }) }
//! ```
//! Consumers of such a test start at once with `.set("group.initial.rebalance.delay.ms", "0")` on the broker.
//!
//! # What it can be told
//! Properties go by Kafka's names, with Kafka's defaults: on a builder (`set`), as typed fields (`with`), from a file or from
//! the environment; see [`config`]. All of them, with default and range, are in `docs/client-configuration.md`;
//! [`Properties::table`](config::Properties::table) lists the same to a program. A name that is none is refused with the
//! nearest one that is.
//!
//! # What it promises
//! - **At most once**: commit, then process. **At least once**: process, then commit, or leave it to auto commit, which
//!   commits what polls before the last one returned. **Exactly once** into a store with transactions: keep the
//!   offsets in the store and [`assign`](consumer::Consumer::assign) or seek from there. `io/client/examples` has each.
//! - Records of one partition are written in the order of their sends, and once, unless `enable.idempotence` is off.
//!   Kafka's transactions are not there yet.
//! - **Cancel-safety**: any future may be dropped at any time, in `select!` as well. A dropped `poll` has taken nothing, a
//!   dropped commit still happens, and whether a broker acted on a dropped request of the administrator is not known.
//! - **Memory**: a consumer keeps to one budget of bytes for all it has fetched
//!   ([`memory_budget`](consumer::ConsumerBuilder::memory_budget)), which dropping [`Records`](consumer::Records) returns; a
//!   producer to `buffer.memory`.
//! - **Time**: heartbeats go on while the application, or its whole runtime, is busy. Dropping a client never blocks.
//! - Errors have the broker's [`ErrorCode`] where it gave one, and say whether asking again may help (`is_retriable`). An error's
//!   text does not repeat that of its [`source`](std::error::Error::source).
//!
//! # Where things are
//! | Module | What it has |
//! |---|---|
//! | [`consumer`] | Groups, subscriptions, polls, streams of one partition, commits, seeks, health |
//! | [`producer`] | Sends, deliveries, partitioners |
//! | [`admin`] | Topics, configurations, groups, offsets, records, access rules, quotas, users |
//! | [`config`] | Every property, and where it can come from |
//! | [`codec`] | Keys and values as types |
//! | [`records`] | Headers, batches and timestamps |
//! | [`assignor`] | How a classic group divides partitions, and what it takes to write one's own |
//! | [`error`], [`net`], [`cluster`] | Why something failed. What else the last two have is the machinery below the clients |

pub mod admin;
pub mod assignor;
mod builder_settings;
mod clock;
pub mod cluster;
pub mod codec;
pub mod config;
pub mod consumer;
pub mod error;
mod kept;
pub mod net;
pub mod producer;
mod random;
pub mod records;

pub use kohort_protocol::{
    ApiKey, ErrorCode, ParseTopicPartitionError, ParseUuidError, TopicPartition, Uuid, VersionRange,
};

/// The README's example, so that it cannot go stale.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
