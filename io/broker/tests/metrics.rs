//! `/metrics` and `/health`: what they tell, what they refuse, and that the document tells the same.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::scraping::{address, get, observed, raw, scrape, value};
use common::{PATIENCE, batch, batch_with, start_with};
use kohort_broker::{BrokerBuilder, METRICS, MetricFamily};
use kohort_protocol::ErrorCode;
use kohort_protocol::compression::Compressor;
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

#[tokio::test]
async fn what_is_produced_and_read_is_counted_by_topic_and_by_request() {
    let running = observed().await;
    let mut client = running.client().await;
    client.create_topic("orders", 2).await;
    let records = batch(&["a", "b", "c"]);
    client.produce("orders", 1, records.clone()).await;
    client.fetch("orders", 1, 0).await;
    assert_eq!(client.fetch("orders", 1, 7).await.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    let scrape = scrape(&running).await;
    let bytes = records.len() as f64;
    for (series, expected) in [
        ("kafka_server_brokertopicmetrics_messagesin_total{topic=\"orders\"}", 3.0),
        ("kafka_server_brokertopicmetrics_messagesin_total", 3.0),
        ("kafka_server_brokertopicmetrics_bytesin_total{topic=\"orders\"}", bytes),
        ("kafka_server_brokertopicmetrics_bytesout_total{topic=\"orders\"}", bytes),
        ("kafka_server_brokertopicmetrics_totalproducerequests_total", 1.0),
        ("kafka_server_brokertopicmetrics_failedproducerequests_total", 0.0),
        ("kafka_server_brokertopicmetrics_totalfetchrequests_total", 2.0),
        ("kafka_server_brokertopicmetrics_failedfetchrequests_total", 1.0),
        ("kafka_network_requestmetrics_requests_total{request=\"Produce\",version=\"12\"}", 1.0),
        (
            "kafka_network_requestmetrics_errors_total{request=\"Fetch\",error=\"OFFSET_OUT_OF_RANGE\"}",
            1.0,
        ),
        ("kafka_network_requestmetrics_totaltimems_count{request=\"Fetch\"}", 2.0),
        ("kafka_network_requestmetrics_totaltimems_bucket{request=\"Produce\",le=\"+Inf\"}", 1.0),
        ("kafka_server_socket_server_metrics_connection_count", 1.0),
        ("kafka_server_replicamanager_partitioncount", 2.0),
        ("kafka_topic_partitions{topic=\"orders\"}", 2.0),
        ("kafka_log_log_logendoffset{topic=\"orders\",partition=\"1\"}", 3.0),
        ("kafka_topic_partition_current_offset{topic=\"orders\",partition=\"0\"}", 0.0),
        ("kafka_log_log_size{topic=\"orders\",partition=\"1\"}", bytes),
        ("kohort_ready", 1.0),
    ] {
        assert_eq!(value(&scrape, series), Some(expected), "{series} in\n{scrape}");
    }
}

#[tokio::test]
async fn lag_is_told_in_records_and_in_seconds_for_what_groups_committed() {
    let running = observed().await;
    let mut client = running.client().await;
    client.create_topic("orders", 2).await;
    let day = 86_400_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    for age in [2 * day, day] {
        let mut builder = BatchBuilder::new();
        for _ in 0..3 {
            let record = NewRecord { timestamp: now - age, ..NewRecord::default() };
            builder.append(&record).unwrap();
        }
        let batch = builder.build(&BatchOptions::default(), &mut Compressor::none());
        assert!(client.produce("orders", 0, batch).await.error_code.is_ok());
    }
    for (group, offset) in [("old", 1), ("new\"", 3), ("done", 6), ("beyond", 9)] {
        client.commit(group, "orders", 0, offset).await;
    }
    let series = |name: &str, group: &str| {
        format!(
            "kafka_consumergroup_{name}{{consumergroup=\"{group}\",topic=\"orders\",partition=\"0\"}}"
        )
    };
    let check = |scrape: &str| {
        for (group, offset, lag, days) in [
            ("old", 1.0, 5.0, 2.0),
            ("new\\\"", 3.0, 3.0, 1.0),
            ("done", 6.0, 0.0, 0.0),
            ("beyond", 9.0, 0.0, 0.0),
        ] {
            assert_eq!(value(scrape, &series("current_offset", group)), Some(offset), "{scrape}");
            assert_eq!(value(scrape, &series("lag", group)), Some(lag));
            let seconds = value(scrape, &series("lag_seconds", group)).unwrap();
            assert!((seconds / 86_400.0 - days).abs() < 0.1, "{group}: {seconds}");
        }
        let sum = "kafka_consumergroup_lag_sum{consumergroup=\"old\",topic=\"orders\"}";
        assert_eq!(value(scrape, sum), Some(5.0));
        let groups = "kafka_coordinator_group_groupmetadatamanager_numgroups";
        assert_eq!(value(scrape, groups), Some(4.0));
        assert_eq!(value(scrape, &format!("{groups}empty")), Some(4.0));
    };
    let first = scrape(&running).await;
    check(&first);
    assert_eq!(
        value(&first, "kafka_server_group_coordinator_metrics_offset_commit_count"),
        Some(4.0)
    );
    // After a restart the records are in segments, and their headers are read through the index.
    let running =
        running.restart_with(|builder| builder.set("metrics.listener", "127.0.0.1:0")).await;
    while get(address(&running), "/health").await.0 != "HTTP/1.1 200 OK" {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        check(&scrape(&running).await);
    }
}

#[tokio::test]
async fn a_batch_that_is_sent_again_counts_as_a_request_and_not_as_records() {
    let running = observed().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    let records = batch_with(
        &["a", "b"],
        &BatchOptions {
            producer_id: 7,
            producer_epoch: 0,
            base_sequence: 0,
            ..BatchOptions::default()
        },
    );
    for _ in 0..2 {
        assert_eq!(client.produce("t", 0, records.clone()).await.base_offset, 0);
    }
    let scrape = scrape(&running).await;
    let counted = |name: &str| {
        value(&scrape, &format!("kafka_server_brokertopicmetrics_{name}_total{{topic=\"t\"}}"))
    };
    assert_eq!(counted("messagesin"), Some(2.0));
    assert_eq!(counted("bytesin"), Some(records.len() as f64));
    assert_eq!(counted("totalproducerequests"), Some(2.0));
}

#[tokio::test]
async fn connections_are_counted_by_how_they_end() {
    let idle = |builder: BrokerBuilder| builder.set("connections.max.idle.ms", "1000");
    let running = start_with(|it| idle(it).set("metrics.listener", "127.0.0.1:0")).await;
    let mut idle = running.client().await;
    idle.closed().await;
    let mut faulty = running.client().await;
    faulty.stream.write_all(&(-1_i32).to_be_bytes()).await.unwrap();
    faulty.closed().await;
    drop(running.client().await);
    let ended = async || {
        let scrape = scrape(&running).await;
        [
            "kafka_server_socket_server_metrics_connection_count",
            "kafka_server_socket_server_metrics_connection_creation_total",
            "kafka_server_socket_server_metrics_connection_close_total",
            "kafka_server_socket_server_metrics_expired_connections_killed_count",
            "kohort_connections_faulty_total",
        ]
        .map(|name| value(&scrape, name))
    };
    let expected = [0.0, 3.0, 3.0, 1.0, 1.0].map(Some);
    let counted = async {
        while ended().await != expected {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, counted).await.expect("each is counted once it has ended");
}

#[tokio::test]
async fn totals_keep_what_deleted_topics_counted() {
    let running = observed().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    client.delete_topic("t").await;
    let scrape = scrape(&running).await;
    let name = "kafka_server_brokertopicmetrics_messagesin_total";
    assert_eq!(value(&scrape, name), Some(2.0));
    assert_eq!(value(&scrape, &format!("{name}{{topic=\"t\"}}")), None);
}

#[tokio::test]
async fn a_scrape_holds_what_the_table_declares_in_its_order_and_nothing_else() {
    let running = observed().await;
    let scrape = scrape(&running).await;
    let typed: Vec<&str> = scrape.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let declared: Vec<String> = METRICS
        .iter()
        .map(|family| format!("# TYPE {} {}", family.name, family.kind.name()))
        .collect();
    assert_eq!(typed, declared);
    let names: BTreeSet<&str> = METRICS.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), METRICS.len(), "a name is declared once");
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix).filter(|name| names.contains(name)));
        assert!(names.contains(family.unwrap_or(name)), "{line}");
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
    }
}

#[tokio::test]
async fn health_tells_that_a_broker_lives_and_serves() {
    let running = observed().await;
    for path in ["/health", "/health/ready", "/health/live"] {
        let (status, body) = get(address(&running), path).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert_eq!(body, "{\"status\":\"ok\",\"reasons\":[]}\n");
    }
}

#[tokio::test]
async fn what_is_no_get_of_a_known_path_is_answered_so_and_closed() {
    let running = observed().await;
    let address = address(&running);
    let endless = [&b"GET /metrics HTTP/1.1\r\nX: "[..], &vec![b'x'; 100_000]].concat();
    for (request, status) in [
        (&b"POST /metrics HTTP/1.1\r\n\r\n"[..], "HTTP/1.1 405 Method Not Allowed"),
        (b"GET /secrets HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        (b"\0\0\0\x2a\0\x03\0\x0c\r\n\r\n", "HTTP/1.1 400 Bad Request"),
    ] {
        assert!(raw(address, request).await.starts_with(status));
    }
    // Its answer may be lost with the bytes that were never read.
    let refused = raw(address, &endless).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
    assert_eq!(get(address, "/health").await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn an_answer_in_chunks_ends_with_an_empty_one() {
    let running = observed().await;
    let answer = raw(address(&running), b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.contains("Transfer-Encoding: chunked"));
    assert!(answer.ends_with("\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn a_scraper_gets_in_as_soon_as_silent_connections_go() {
    let running = observed().await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(address(&running)).await.unwrap());
    }
    // Those beyond the bound are closed at once, and so is a scraper that comes now; it gets in as
    // soon as one of the others goes.
    drop(silent);
    while raw(address(&running), b"GET /health HTTP/1.0\r\n\r\n").await.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn without_the_property_nothing_listens() {
    let running = common::start().await;
    assert_eq!(running.broker.metrics_addr(), None);
}

#[test]
fn the_document_of_the_metrics_is_up_to_date() {
    let made = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(DOCUMENT, &made).unwrap();
    }
    let found = fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(found == made, "docs/metrics.md is not up to date; UPDATE_DOCS=1 rewrites it");
}

fn document() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("\n| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for MetricFamily { name, kind, unit, labels, doc } in METRICS {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        let _ = writeln!(out, "| `{name}` | {} | {unit} | {labels} | {doc} |", kind.name());
    }
    out.push_str(HEALTH);
    out
}

const INTRODUCTION: &str = "\
# Metrics and health

Made from the broker's own table, `io/broker/src/metrics/table.rs`; do not edit. `kohort broker --set
metrics.listener=127.0.0.1:9404` answers `GET /metrics` in Prometheus' text format and `GET /health`; without the property nothing
listens. Names are those of Kafka's own exporters: what the usual rules of the JMX exporter make of Kafka's beans, and
kafka_exporter's for topics and groups, so that dashboards and alerts go on working. What has no counterpart begins with `kohort_`.

Where Kafka's beans hold percentiles over an unstated window, these are histograms: `histogram_quantile` gives any percentile over
any window, and `_count` has the name it has there. Counters begin at 0 with the process.
";

const HEALTH: &str = "
## Health

`/health/live` answers 200 while the process works and 503 after its data folder or one of its tasks failed, when it must be started again.
`/health/ready`, and `/health` alike, answer 200 while the broker serves and 503 otherwise; what concerns single partitions is told with 200
and the status `degraded` ([why](decisions/0035-damage-in-part-is-degraded.md)). The body is JSON:
`{\"status\":\"unavailable\",\"reasons\":[{\"code\":\"disk-full\",\"message\":\"...\"}]}`, with the status `ok` where there are no reasons.

| code | meaning | ready | alive |
|---|---|---|---|
| `starting` | the data folder is being opened | no | yes |
| `loading-groups` | group coordinators read their logs; their groups answer COORDINATOR_LOAD_IN_PROGRESS meanwhile | no | yes |
| `damaged-groups` | a partition of `__consumer_offsets` cannot be read: the message names it and the file; its groups answer NOT_COORDINATOR, all others work | yes | yes |
| `uncleanable-partitions` | partitions are not compacted until the next start, because of damage or a panic: the log names them | yes | yes |
| `disk-full` | producers are refused for want of space, and topics are not created; everything else works | no | yes |
| `out-of-file-handles` | producers are refused because too many files are open: raise the limit (`ulimit -n`) | no | yes |
| `stopping` | the broker was told to stop and answers what is in flight | no | yes |
| `storage-failed` | a write or sync failed: nothing is accepted, and the process ends | no | no |
| `task-failed` | a task or thread panicked that others wait for: the message names it, the log says where, and the process ends | no | no |
";
