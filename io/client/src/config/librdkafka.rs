//! Properties of librdkafka's that go by another name here, and what stands in their place. The nearest
//! name would mislead: `ssl.ca.location` is not a slip of the pen for `ssl.keystore.location`.
//!
//! The list is that of librdkafka 2.15's CONFIGURATION.md where a name there is neither Kafka's nor
//! explains itself; callbacks and what only C needs are left out.

/// Returns what to do in place of a property of librdkafka's.
pub(super) fn instead_of(name: &str) -> Option<&'static str> {
    let entry = ELSEWHERE.iter().find(|(names, _)| names.contains(&name));
    entry.map(|(_, instead)| *instead)
}

/// Names, and what to do.
pub(super) const ELSEWHERE: &[(&[&str], &str)] = &[
    (&["metadata.broker.list"], "name the servers in `bootstrap.servers`"),
    (
        &["topic.metadata.refresh.interval.ms"],
        "how old metadata may become is `metadata.max.age.ms`",
    ),
    (
        &["topic.metadata.refresh.fast.interval.ms", "topic.metadata.refresh.sparse"],
        "metadata of the topics in use is asked for again when it proves old, at the pace of \
         `retry.backoff.ms`",
    ),
    (&["socket.timeout.ms"], "the time for one request is `request.timeout.ms`"),
    (
        &["socket.keepalive.enable", "socket.nagle.disable", "socket.max.fails"],
        "sockets need no care: a dead connection is noticed by `request.timeout.ms`, an idle one closed \
         after `connections.max.idle.ms`",
    ),
    (&["socket.send.buffer.bytes"], "the size is `send.buffer.bytes`"),
    (&["socket.receive.buffer.bytes"], "the size is `receive.buffer.bytes`"),
    (
        &["statistics.interval.ms"],
        "counters are read in code, see `Consumer::metrics` and `Producer::metrics`",
    ),
    (
        &["debug", "log_level"],
        "logs are `tracing` events of the target `kohort`: filter them there",
    ),
    (
        &["api.version.request", "api.version.fallback.ms", "broker.version.fallback"],
        "versions are agreed on with each broker: leave it out",
    ),
    (
        &["ssl.ca.location"],
        "the file with the certificates of the trusted CAs is `ssl.truststore.location`",
    ),
    (&["ssl.ca.pem"], "the certificates of the trusted CAs are `ssl.truststore.certificates`"),
    (
        &["ssl.certificate.location", "ssl.key.location"],
        "certificate chain and private key, one after the other, make the PEM file that \
         `ssl.keystore.location` names",
    ),
    (&["ssl.certificate.pem"], "the chain is `ssl.keystore.certificate.chain`"),
    (&["ssl.key.pem"], "the private key is `ssl.keystore.key`"),
    (
        &["enable.ssl.certificate.verification"],
        "a certificate is always verified; `ssl.endpoint.identification.algorithm=none` accepts any \
         name in it",
    ),
    (&["sasl.mechanisms"], "it is `sasl.mechanism`, and names one"),
    (&["request.required.acks"], "it is `acks`"),
    (
        &["message.timeout.ms"],
        "how long a record may take with all retries is `delivery.timeout.ms`",
    ),
    (&["queue.buffering.max.ms"], "how long a batch waits for more records is `linger.ms`"),
    (
        &["queue.buffering.max.kbytes", "queue.buffering.max.messages"],
        "what may wait to be sent is `buffer.memory`, in bytes; records are not counted",
    ),
    (
        &["batch.num.messages"],
        "a batch is as large as `batch.size` says, in bytes; records are not counted",
    ),
    (&["message.max.bytes"], "the largest record and request of a producer is `max.request.size`"),
    (&["message.send.max.retries"], "it is `retries`"),
    (&["max.in.flight"], "it is `max.in.flight.requests.per.connection`"),
    (&["compression.codec"], "it is `compression.type`"),
    (
        &["compression.level"],
        "each codec has its own: `compression.gzip.level`, `compression.lz4.level`, \
         `compression.zstd.level`",
    ),
    (
        &["partitioner"],
        "records with a key go where Java's go (`murmur2_random`); another partitioner is chosen in \
         code, see `ProducerBuilder::partitioner`",
    ),
    (
        &["enable.partition.eof"],
        "`Consumer::lag` is 0 at the end of a partition, and `Consumer::end_offsets` tells where that is",
    ),
    (
        &["enable.auto.offset.store", "auto.commit.enable"],
        "with `enable.auto.commit=true` what was polled before the latest poll is committed; with \
         `false`, `Consumer::commit_offsets_sync` and its like commit what you say",
    ),
    (&["fetch.wait.max.ms"], "it is `fetch.max.wait.ms`"),
    (
        &["fetch.message.max.bytes"],
        "the most of one partition in a fetch is `max.partition.fetch.bytes`",
    ),
    (
        &["queued.min.messages", "queued.max.messages.kbytes", "fetch.queue.backoff.ms"],
        "what is fetched ahead is bounded in bytes, see `ConsumerBuilder::memory_budget`",
    ),
    (&["receive.message.max.bytes"], "an answer is as large as was asked for: `fetch.max.bytes`"),
];
