//! Open-loop load: records leave at their time whatever becomes of those before, and a reader takes
//! them as they come. A record's times count from when it was to be sent, so that a broker that holds
//! the generator up does not look quick for it (no coordinated omission).

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;

use super::fetch::Cursor;
use super::latency::Latencies;
use super::link::{Link, wait};
use super::wire::check_produced;

/// The times of a run, from when each record was to be sent.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) acknowledged: Latencies,
    pub(crate) read: Latencies,
}

/// Sends `rate` records a second for `time`, in turn to each partition, and reads them. The last link
/// is the reader's, the others are producers'; the topic is new.
pub(crate) fn run(
    links: &mut [Link],
    topic: &str,
    frames: &[Bytes],
    rate: u32,
    time: Duration,
) -> Result<Times> {
    // Sleeping is to end when asked, not 50 µs later.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let interval = Duration::from_secs(1) / rate;
    let count = u64::from(rate) * time.as_millis() as u64 / 1000;
    let producers = links.len() - 1;
    let mut under_way: Vec<VecDeque<Instant>> = vec![VecDeque::new(); producers];
    let mut due_of: Vec<Vec<Instant>> = vec![Vec::new(); frames.len()];
    let mut cursor = Cursor::new(topic, frames.len());
    let mut times = Times::default();
    let mut sent = 0;
    let started = Instant::now();
    let mut due = started + interval;
    links[producers].send(cursor.request()?);
    while times.acknowledged.count() < count || times.read.count() < count {
        let now = Instant::now();
        while sent < count && due <= now {
            let partition = sent as usize % frames.len();
            // A partition has one producer, so its offsets are in the order of sending.
            let producer = partition % producers;
            links[producer].send(frames[partition].clone());
            under_way[producer].push_back(due);
            due_of[partition].push(due);
            sent += 1;
            due += interval;
        }
        for link in &mut *links {
            link.flush()?;
        }
        let pause = (sent < count).then(|| due.saturating_duration_since(Instant::now()));
        wait(links, pause)?;
        for (index, link) in links.iter_mut().enumerate() {
            if !link.receive()? {
                continue;
            }
            let now = Instant::now();
            if index < producers {
                while let Some(checked) = link.next_answer(check_produced) {
                    checked?;
                    if let Some(due) = under_way[index].pop_front() {
                        times.acknowledged.add(now - due);
                    }
                }
                continue;
            }
            let read = &mut times.read;
            let taken = link.next_answer(|frame| {
                cursor.take(frame, |partition, offsets| {
                    let due = &due_of[partition];
                    for offset in offsets {
                        read.add(now - due[offset as usize]);
                    }
                })
            });
            if let Some(taken) = taken {
                taken?;
                link.send(cursor.request()?);
                link.flush()?;
            }
        }
    }
    // The reader's last request is answered when its patience ends.
    while links[producers].next_answer(|_| ()).is_none() {
        wait(&mut links[producers..], None)?;
        links[producers].receive()?;
    }
    Ok(times)
}
