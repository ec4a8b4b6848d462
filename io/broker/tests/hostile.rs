//! Bytes from somebody who means harm or is broken, for every API key there is or could be, over real
//! connections: the broker may close them, and must neither panic nor hang nor grow.
//!
//! The bytes are random but seeded; `KOHORT_HOSTILE_SEED` and `KOHORT_HOSTILE_ROUNDS` choose others.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{PATIENCE, start_with};
use kohort_protocol::ApiKey;
use kohort_protocol::header::request_header_version;
use kohort_protocol::messages::ApiVersionsRequest;
use kohort_protocol::testing::{Dice, Subject, subjects};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What the broker takes; a request of this size is a cheap way to make it reserve.
const REQUEST_MAX: usize = 1 << 20;
/// How much the process may grow: pools and buffers fill, nothing else.
const GROWTH_MAX: usize = 96 << 20;
/// Keys beyond those of today.
const KEYS: std::ops::RangeInclusive<i16> = -1..=100;

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bytes_make_the_broker_panic_or_hang_or_grow() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
    };
    let first = number("KOHORT_HOSTILE_SEED", 1);
    let usual_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        usual_hook(panic);
    }));
    for seed in first..first + number("KOHORT_HOSTILE_ROUNDS", 1) {
        println!("KOHORT_HOSTILE_SEED={seed}");
        let request_max = REQUEST_MAX.to_string();
        let running =
            start_with(|builder| builder.set("socket.request.max.bytes", &request_max)).await;
        let address = running.broker.local_addr();
        let mut witness = running.client().await;
        witness.create_topic("t", 3).await;
        let before = resident();
        let mut dice = Dice::new(seed);
        for key in KEYS {
            for bytes in attacks(&mut dice, key) {
                attack(address, &bytes).await;
                let answer = witness.call(&ApiVersionsRequest::default(), 0).await;
                assert!(answer.error_code.is_ok(), "after {}", hex(&bytes));
                let panics = PANICS.load(Ordering::Relaxed);
                assert_eq!(panics, 0, "seed {seed}, API {key}: {}", hex(&bytes));
            }
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < GROWTH_MAX, "seed {seed}: grew by {grown} bytes");
        running.broker.shutdown().await.unwrap();
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "seed {seed}: while stopping");
    }
}

/// Sends `bytes` and no more, and sees the connection to its end.
async fn attack(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The broker may have closed it already.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "not ended after {}", hex(bytes));
}

/// Makes what is sent for one API key, each on a connection of its own.
fn attacks(dice: &mut Dice, key: i16) -> Vec<Vec<u8>> {
    let api = ApiKey::from_i16(key);
    let subject = api.and_then(|api| {
        let name = format!("{}Request", api.name());
        subjects().into_iter().find(|subject| subject.name == name)
    });
    let Some((api, subject)) = api.zip(subject) else {
        return [0, 1, i16::MAX, i16::MIN].map(|version| noise(dice, key, version)).into();
    };
    let mut all = Vec::new();
    let newest = *subject.versions.iter().collect::<Vec<_>>().last().unwrap();
    for version in [-1, newest + 1, i16::MIN, i16::MAX] {
        all.push(noise(dice, key, version));
    }
    for version in subject.versions.iter() {
        all.push(noise(dice, key, version));
        let whole = request(dice, api, &subject, version);
        all.push(framed(&whole));
        for _ in 0..3 {
            all.push(framed(&damaged(dice, &whole)));
        }
        let cut = dice.below(whole.len());
        all.push(framed(&whole[..cut]));
        // A frame that says more than comes, and one that says less.
        let frame = framed(&whole);
        all.push(frame[..4 + cut].to_vec());
        let mut short = frame;
        short[..4].copy_from_slice(&(cut as u32).to_be_bytes());
        all.push(short);
    }
    all.push(([0x7f, 0xff, 0xff, 0xff].into_iter().chain(key.to_be_bytes())).collect());
    all.push(((REQUEST_MAX as u32).to_be_bytes().into_iter().chain(key.to_be_bytes())).collect());
    all
}

/// A valid request, of random content.
fn request(dice: &mut Dice, api: ApiKey, subject: &Subject, version: i16) -> Vec<u8> {
    let mut head = head(api as i16, version);
    if request_header_version(api, version) == 2 {
        head.push(0);
    }
    head.extend_from_slice(&subject.sample(dice, version).bytes);
    head
}

/// The header's first version: key, version, correlation id, no client.
fn head(key: i16, version: i16) -> Vec<u8> {
    let mut bytes = key.to_be_bytes().to_vec();
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 7, 0xff, 0xff]);
    bytes
}

fn noise(dice: &mut Dice, key: i16, version: i16) -> Vec<u8> {
    let length = dice.below(300);
    let mut bytes = head(key, version);
    bytes.extend(dice.bytes(length));
    framed(&bytes)
}

/// Changes a few bytes, mostly to those that mean trouble as lengths: most of all, nothing, one less.
fn damaged(dice: &mut Dice, whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let body = 10.min(bytes.len() - 1);
    for _ in 0..=dice.below(4) {
        let place = body + dice.below(bytes.len() - body);
        let trouble: &[u8] = match dice.below(7) {
            0 => &[0x7f, 0xff, 0xff, 0xff],
            1 => &[0xff, 0xff, 0xff, 0xff, 0x0f],
            2 => &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            3 => &[0x80, 0, 0, 0],
            4 => &[0],
            5 => &[0xff, 0xff],
            _ => &[0x80, 0x80, 0x80, 0x80, 0x80],
        };
        let end = (place + trouble.len()).min(bytes.len());
        if dice.one_in(3) {
            bytes.splice(place..place, trouble.iter().copied());
        } else {
            bytes[place..end].copy_from_slice(&trouble[..end - place]);
        }
    }
    bytes
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns the bytes of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
