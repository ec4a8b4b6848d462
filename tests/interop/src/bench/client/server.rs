//! A broker that does nothing but send: one to three nodes in a process of their own, one topic, every
//! batch made beforehand. So the clients are what limits a run, and what the kernel counts for this
//! process is nobody's concern.
//!
//! A thread serves one connection, one request after the other, as Kafka does. The process tells its
//! ports on stdout, and for each line on stdin how many bytes of records it has sent or received; it ends when
//! stdin does.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use kohort_protocol::ApiKey;
use kohort_protocol::header::RequestHeader;
use kohort_protocol::{Reader, Uuid};

use super::answers;
use super::fetches::{Answer, Session};
use super::log::{Shape, Template};

/// What to serve.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ServerArguments {
    /// How many nodes there are.
    #[arg(long, default_value_t = 1)]
    pub(crate) nodes: usize,
    /// How many of the nodes, from the last, have partitions without records.
    #[arg(long, default_value_t = 0)]
    pub(crate) idle_nodes: usize,
    /// How many partitions there are: partition `p` is led by node `p` modulo the nodes.
    #[arg(long, default_value_t = 12)]
    pub(crate) partitions: i32,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// What all connections know.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) arguments: ServerArguments,
    pub(super) ports: Vec<u16>,
    pub(super) template: Template,
    /// The bytes of records sent, and those of requests with records received.
    sent: AtomicU64,
}

impl Cluster {
    /// Returns the index of the node that leads a partition.
    pub(super) fn leader(&self, partition: i32) -> usize {
        partition as usize % self.arguments.nodes
    }

    /// Returns the end of a partition.
    pub(super) fn end(&self, partition: i32) -> i64 {
        let busy = self.arguments.nodes - self.arguments.idle_nodes;
        if self.leader(partition) < busy { END } else { 0 }
    }
}

/// Serves until stdin ends.
pub(crate) fn run(arguments: ServerArguments) -> Result<()> {
    let listeners = (0..arguments.nodes).map(|_| TcpListener::bind(("127.0.0.1", 0)));
    let listeners = listeners.collect::<std::io::Result<Vec<_>>>()?;
    let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port()));
    let ports = ports.collect::<Result<Vec<_>>>()?;
    let told: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let template = Template::new(arguments.shape)?;
    let cluster = Arc::new(Cluster { arguments, ports, template, sent: AtomicU64::new(0) });
    for (node, listener) in listeners.into_iter().enumerate() {
        let cluster = cluster.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let cluster = cluster.clone();
                thread::spawn(move || {
                    // A client that goes away is how every run ends.
                    if let Err(error) = Connection::new(&cluster, node, stream).serve() {
                        eprintln!("a connection ended: {error:#}");
                    }
                });
            }
        });
    }
    println!("{} {}", told.join(","), cluster.template.batch.len());
    for line in std::io::stdin().lock().lines() {
        line?;
        println!("{}", cluster.sent.load(Ordering::Relaxed));
    }
    Ok(())
}

struct Connection<'a> {
    cluster: &'a Cluster,
    node: usize,
    stream: TcpStream,
    session: Session,
    /// The offset the next record written to each partition gets.
    ends: Vec<i64>,
}

impl<'a> Connection<'a> {
    fn new(cluster: &'a Cluster, node: usize, stream: TcpStream) -> Self {
        let ends = vec![0; cluster.arguments.partitions as usize];
        Self { cluster, node, stream, session: Session::default(), ends }
    }

    fn serve(mut self) -> Result<()> {
        self.stream.set_nodelay(true)?;
        while let Some(frame) = self.receive()? {
            let mut reader = Reader::new(&frame);
            let header = RequestHeader::decode(&mut reader)?;
            let (version, id) = (header.api_version, header.correlation_id);
            match ApiKey::from_i16(header.api_key) {
                Some(ApiKey::Fetch) => {
                    let answer =
                        self.session.answer(self.cluster, self.node, &mut reader, version, id)?;
                    let bytes = self.send(&answer)?;
                    self.cluster.sent.fetch_add(bytes, Ordering::Relaxed);
                }
                Some(ApiKey::Produce) => {
                    self.cluster.sent.fetch_add(frame.len() as u64, Ordering::Relaxed);
                    if let Some(answer) =
                        answers::produce(&mut self.ends, &mut reader, version, id)?
                    {
                        self.stream.write_all(&answer)?;
                    }
                }
                key => {
                    let answer =
                        answers::answer(self.cluster, self.node, key, &mut reader, version, id);
                    let answer = answer.with_context(|| format!("{key:?} version {version}"))?;
                    self.stream.write_all(&answer)?;
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Bytes>> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(Some(frame.into()))
    }

    /// Sends an answer and returns how many bytes of records it has.
    fn send(&mut self, answer: &Answer) -> Result<u64> {
        let mut pieces = answer.pieces(&self.cluster.template.batch);
        let mut left = pieces.as_mut_slice();
        while !left.is_empty() {
            let many = left.len().min(PIECES_MAX);
            let written = self.stream.write_vectored(&left[..many])?;
            std::io::IoSlice::advance_slices(&mut left, written);
        }
        Ok(answer.record_bytes())
    }
}

/// The topic.
pub(crate) const TOPIC: &str = "bench";
/// The topic's id.
pub(super) const TOPIC_ID: Uuid = Uuid([0xbe; 16]);
/// The node ids count from here.
pub(super) const FIRST_NODE: i32 = 1;
/// More records than any run reads.
const END: i64 = 1 << 50;
/// How many pieces the system takes at once.
const PIECES_MAX: usize = 1024;
