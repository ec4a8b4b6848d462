//! Accepts connections, and sees them out when the broker stops.

use crate::admission::{Admission, Pace};
use crate::caller::Ends;
use crate::log_pace::{LastingPace, LogPace};
use crate::node::Node;
use crate::stopping::stopped;
use crate::{connection, descriptors};
use rustix::io::Errno;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

/// How long connections have to answer what is in flight when the broker stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long accepting rests when the system refuses a connection, so as not to spin while file
/// descriptors are short.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Takes the address, so that the port is known before the broker is built around it.
pub(crate) fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    take(socket, address, backlog)
}

/// Takes a port of every address, as Java does: `[::]` for IPv6 and IPv4 together, or `0.0.0.0` where
/// the system has no IPv6.
pub(crate) fn bind_everywhere(port: u16, backlog: u32) -> io::Result<TcpListener> {
    let both = || {
        let socket = TcpSocket::new_v6()?;
        // Whatever net.ipv6.bindv6only says.
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
        take(socket, (Ipv6Addr::UNSPECIFIED, port).into(), backlog)
    };
    match both() {
        Err(error) if has_no_ipv6(&error) => bind((Ipv4Addr::UNSPECIFIED, port).into(), backlog),
        taken => taken,
    }
}

fn take(socket: TcpSocket, address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    socket.set_reuseaddr(true)?;
    // For the connections, which take it over: a request may wait for longer than its peer lives.
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Tells whether the system refused `[::]` for want of IPv6. A port that is taken stays an error.
fn has_no_ipv6(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT))
}

/// Accepts until `stopping` turns true, then waits for the connections to drain.
pub(crate) async fn run(
    node: Arc<Node>,
    listeners: Vec<TcpListener>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let bearable = descriptors::shares().connections;
    let admission = Admission::default();
    let mut pace = Pace::new(Instant::now());
    let refusal_lines = LogPace::default();
    let mut refusals = LastingPace::default();
    let mut number = 0;
    let for_connections = stopping.clone();
    loop {
        let config = node.config();
        let pause = pace.wait(config.max_connection_creation_rate, Instant::now());
        // All are cancel-safe: accepting, joining and waiting take effect only when they complete.
        tokio::select! {
            accepted = accept(&listeners, number + 1), if pause.is_none() => match accepted {
                Ok((stream, ends)) => {
                    pace.note_accepted();
                    let place = match admission.admit(ends.peer.ip(), &config, bearable) {
                        Ok(place) => place,
                        Err(refusal) => {
                            node.metrics.connections.refused(refusal);
                            if refusal_lines.allows() {
                                let (limit, value) = refusal.limit();
                                warn!(
                                    peer = %ends.peer,
                                    limit,
                                    value,
                                    "connection refused: as many are open as the limit allows; \
                                     kohort_connections_refused_total counts them all"
                                );
                            }
                            continue;
                        }
                    };
                    number += 1;
                    let serving = connection::serve(
                        Arc::clone(&node),
                        stream,
                        ends,
                        for_connections.clone(),
                    );
                    connections.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    if let Some(times) = refusals.note(std::time::Instant::now()) {
                        warn!(%error, times, "a connection could not be accepted");
                    }
                    sleep(ACCEPT_REST).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => {}
            () = stopped(&mut stopping) => break,
        }
    }
    drop(listeners);
    let drained = timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        warn!(
            connections = connections.len(),
            "connections still busy after the time for answers were closed"
        );
        connections.shutdown().await;
    }
}

/// Waits for the next connection of any listener. It will have that number.
async fn accept(listeners: &[TcpListener], connection: u64) -> io::Result<(TcpStream, Ends)> {
    let (listener, accepted) = poll_fn(|context| {
        let ready = listeners.iter().enumerate().find_map(|(place, listener)| {
            match listener.poll_accept(context) {
                Poll::Ready(accepted) => Some((place, accepted)),
                Poll::Pending => None,
            }
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await;
    let (stream, peer) = accepted?;
    let local = stream.local_addr()?;
    let (peer, local) = (plain(peer), plain(local));
    Ok((stream, Ends { connection, peer, local, listener }))
}

/// Returns an IPv4 address as such, also where it came by a socket for both: limits, quotas and groups
/// know clients by it.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_whose_peer_vanished_is_found_out() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into(), 1).unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(rustix::net::sockopt::socket_keepalive(&accepted).unwrap());
    }

    #[test]
    fn only_a_system_without_ipv6_is_listened_to_by_ipv4_alone() {
        let without = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT];
        let otherwise = [Errno::ADDRINUSE, Errno::ACCESS, Errno::MFILE];
        assert!(without.into_iter().all(|errno| has_no_ipv6(&errno.into())));
        assert!(!otherwise.into_iter().any(|errno| has_no_ipv6(&errno.into())));
    }
}
