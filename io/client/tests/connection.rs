//! The connection layer against a broker.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::time::Duration;

use kohort::cluster::CoordinatorKind;
use kohort::net::{NetError, Purpose};
use kohort_protocol::messages::metadata::MetadataRequest;
use support::{Scripted, bootstrap, connect};

#[tokio::test]
async fn metadata_and_coordinators_are_found_from_a_bootstrap_server() {
    let servers = bootstrap();
    let (driver, cluster) = connect(&servers);
    let work = async move {
        let view = cluster.refresh().await?;
        assert!(view.brokers().all(|broker| broker.id >= 0), "{view:?}");
        let coordinator = cluster.find_coordinator(CoordinatorKind::Group, "a-group").await;
        if let Ok(broker) = coordinator {
            cluster.connection_to(&broker, Purpose::Coordinator).await?;
        }
        let node = view.brokers().next().unwrap().id;
        let connection = cluster.connection(node, Purpose::General).await?;
        let version = connection.version::<MetadataRequest>()?;
        let request = MetadataRequest { topics: Some(vec![]), ..Default::default() };
        let timeout = Duration::from_secs(10);
        let pipelined: Vec<_> =
            (0..10).map(|_| connection.start(version, &request, timeout).unwrap()).collect();
        for answer in pipelined {
            assert!(!answer.await?.brokers.is_empty());
        }
        Ok::<_, kohort::cluster::ClusterError>(())
    };
    driver.run(work).await.unwrap().unwrap();
}

#[tokio::test]
async fn nobody_listening_is_reported_as_unreachable() {
    let (driver, cluster) = connect("127.0.0.1:1");
    let error = driver.run(async move { cluster.refresh().await }).await.unwrap().unwrap_err();
    assert!(error.is_retriable());
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

/// Asks a scripted broker for metadata on a fresh connection and returns how that fails.
async fn failure(script: Scripted, timeout: Duration) -> NetError {
    let (driver, _) = connect("127.0.0.1:1");
    let port = script.port();
    let ask = async move {
        let options = kohort::net::ConnectionOptions::default();
        let connection = kohort::net::BrokerConnection::open("127.0.0.1", port, options).await?;
        let version = connection.version::<MetadataRequest>()?;
        let request = MetadataRequest::default();
        let first = connection.start(version, &request, timeout)?;
        let second = connection.start(version, &request, timeout)?;
        let error = first.await.unwrap_err();
        // Whatever ended the first ended the connection, and so the second.
        assert_eq!(second.await.unwrap_err().to_string(), error.to_string());
        assert!(connection.is_closed());
        let late = connection.send(&request).await.unwrap_err();
        assert_eq!(late.to_string(), error.to_string());
        Err::<(), _>(error)
    };
    driver.run(ask).await.unwrap().unwrap_err()
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn silence_ends_the_connection_when_the_requests_time_is_up() {
    let error = failure(Scripted::answer(|_| None), Duration::from_millis(50)).await;
    assert!(matches!(error, NetError::RequestTimeout { .. }), "{error}");
}

#[tokio::test]
async fn a_closed_socket_fails_everything_in_flight() {
    let error = failure(Scripted::close(), LONG).await;
    assert!(matches!(error, NetError::ClosedByPeer { .. } | NetError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_out_of_turn_ends_the_connection() {
    let script = Scripted::answer(|id| Some((id + 7).to_be_bytes().to_vec()));
    let error = failure(script, LONG).await;
    assert!(matches!(error, NetError::OutOfTurn { wanted: 1, got: 8, .. }), "{error}");
}

#[tokio::test]
async fn impossible_frame_lengths_end_the_connection() {
    for prefix in [[0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0, 0, 0, 1]] {
        let error = failure(Scripted::raw(prefix.to_vec()), LONG).await;
        assert!(matches!(error, NetError::Malformed { .. }), "{prefix:?}: {error}");
    }
}
