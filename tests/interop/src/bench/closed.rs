//! Closed-loop load: a fixed number of requests is under way on each link, and each answer lets the
//! next request go. It finds the rate a broker can do and what a request costs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;

use super::latency::Latencies;
use super::link::{Link, wait};

/// What is asked, and what is made of the answers.
pub(crate) trait Load {
    /// Returns the next request of a link.
    fn request(&mut self, link: usize) -> Result<Bytes>;
    /// Takes an answer, and fails if it is not a good one.
    fn answer(&mut self, link: usize, frame: &Bytes) -> Result<()>;
    /// Tells whether there is nothing more to ask, whatever time is left.
    fn is_over(&self) -> bool {
        false
    }
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) answers: u64,
    pub(crate) seconds: f64,
    pub(crate) latencies: Latencies,
}

/// Keeps `depth` requests under way on each link for `time`, then awaits the last answers.
pub(crate) fn run(
    links: &mut [Link],
    depth: usize,
    load: &mut impl Load,
    time: Duration,
) -> Result<Run> {
    let started = Instant::now();
    let mut under_way: Vec<VecDeque<Instant>> = links.iter().map(|_| VecDeque::new()).collect();
    let mut latencies = Latencies::default();
    let mut waiting = 0;
    for (index, link) in links.iter_mut().enumerate() {
        for _ in 0..depth {
            link.send(load.request(index)?);
            under_way[index].push_back(Instant::now());
            waiting += 1;
        }
        link.flush()?;
    }
    while waiting > 0 {
        wait(links, None)?;
        for (index, link) in links.iter_mut().enumerate() {
            // What did not fit the socket before.
            link.flush()?;
            if !link.receive()? {
                continue;
            }
            let now = Instant::now();
            let goes_on = now - started < time;
            while let Some(checked) = link.next_answer(|frame| load.answer(index, frame)) {
                checked?;
                if let Some(sent) = under_way[index].pop_front() {
                    latencies.add(now - sent);
                }
                waiting -= 1;
                if goes_on && !load.is_over() {
                    link.send(load.request(index)?);
                    under_way[index].push_back(now);
                    waiting += 1;
                }
            }
            link.flush()?;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Run { answers: latencies.count(), seconds, latencies })
}

/// The same frames over and over, link by link.
#[derive(Debug)]
pub(crate) struct Repeated<'a> {
    /// Link `l` of `n` sends frames `l`, `l + n`, `l + 2n` and so on, then begins anew.
    frames: &'a [Bytes],
    links: usize,
    next: Vec<usize>,
    check: fn(&Bytes) -> Result<()>,
    /// How many may still be asked.
    left: u64,
}

impl<'a> Repeated<'a> {
    pub(crate) fn new(frames: &'a [Bytes], links: usize, check: fn(&Bytes) -> Result<()>) -> Self {
        Self { frames, links, next: (0..links).collect(), check, left: u64::MAX }
    }

    /// Ends after `requests`, and the few that are under way then.
    pub(crate) fn at_most(self, requests: u64) -> Self {
        Self { left: requests, ..self }
    }
}

impl Load for Repeated<'_> {
    fn request(&mut self, link: usize) -> Result<Bytes> {
        let at = self.next[link] % self.frames.len();
        self.next[link] += self.links;
        self.left = self.left.saturating_sub(1);
        Ok(self.frames[at].clone())
    }

    fn answer(&mut self, _link: usize, frame: &Bytes) -> Result<()> {
        (self.check)(frame)
    }

    fn is_over(&self) -> bool {
        self.left == 0
    }
}
