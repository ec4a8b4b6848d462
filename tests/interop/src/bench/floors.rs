//! Floors: what the machine takes for the deeds no broker gets around, each done by one thread and
//! nothing else. Beside them a broker's figures can be read: what is left is its own.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

use super::latency::Latencies;

/// Measures and prints all of them.
pub(crate) fn print() -> Result<()> {
    println!("\nfloors of this machine (CPU of the thread that does it)");
    println!("{:<48}{:>10.2}", "receiving over loopback, CPU s/GB", loopback_receive()?);
    println!("{:<48}{:>10.2}", "sending over loopback, CPU s/GB", loopback_send()?);
    println!("{:<48}{:>10.2}", "writing to the page cache, CPU s/GB", page_cache_write()?);
    println!("{:<48}{:>10.3}", "CRC-32C, CPU s/GB", checksum());
    println!("{:<48}{:>10.1}", "echo of 100 bytes, CPU us/round trip", echo()?);
    let Syncs { cpu, wall, p999 } = syncs()?;
    println!("{:<48}{:>10.1}", "4 KB written directly and synced, CPU us", cpu);
    println!("{:<48}{:>10.2}", "the same, ms", wall);
    println!("{:<48}{:>10.2}", "the same 1 000 times a second, p99.9, ms", p999);
    Ok(())
}

fn loopback_receive() -> Result<f64> {
    let (mut sender, mut receiver) = pair()?;
    let sending = thread::spawn(move || send_all(&mut sender));
    let before = cpu();
    receive_all(&mut receiver)?;
    let used = cpu() - before;
    sending.join().ok().context("the sender panicked")??;
    Ok(used / (BULK as f64 / 1e9))
}

fn loopback_send() -> Result<f64> {
    let (mut sender, mut receiver) = pair()?;
    let receiving = thread::spawn(move || receive_all(&mut receiver));
    let before = cpu();
    send_all(&mut sender)?;
    let used = cpu() - before;
    drop(sender);
    receiving.join().ok().context("the receiver panicked")??;
    Ok(used / (BULK as f64 / 1e9))
}

fn page_cache_write() -> Result<f64> {
    let mut file = tempfile::tempfile()?;
    let chunk = vec![7; CHUNK];
    let before = cpu();
    for _ in 0..BULK / CHUNK {
        file.write_all(&chunk)?;
    }
    Ok((cpu() - before) / (BULK as f64 / 1e9))
}

fn checksum() -> f64 {
    let chunk = vec![7; CHUNK];
    let before = cpu();
    let mut crc = 0;
    for _ in 0..BULK / CHUNK {
        crc = crc32c::crc32c_append(crc, &chunk);
    }
    std::hint::black_box(crc);
    (cpu() - before) / (BULK as f64 / 1e9)
}

/// Returns the CPU microseconds the answering side takes for a round trip.
fn echo() -> Result<f64> {
    let (mut asking, mut answering) = pair()?;
    let answer = thread::spawn(move || -> Result<f64> {
        let before = cpu();
        let mut message = [0; 100];
        for _ in 0..ROUND_TRIPS {
            answering.read_exact(&mut message)?;
            answering.write_all(&message)?;
        }
        Ok(cpu() - before)
    });
    let mut message = [0; 100];
    for _ in 0..ROUND_TRIPS {
        asking.write_all(&message)?;
        asking.read_exact(&mut message)?;
    }
    let used = answer.join().ok().context("the answering side panicked")??;
    Ok(used * 1e6 / f64::from(ROUND_TRIPS))
}

/// What 4 KB that are written directly and synced take.
struct Syncs {
    /// Microseconds of CPU, one after another.
    cpu: f64,
    /// Milliseconds, one after another.
    wall: f64,
    /// Milliseconds of the slowest in a thousand, at a pace that leaves the disk idle between them.
    p999: f64,
}

fn syncs() -> Result<Syncs> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("synced");
    let mut file = File::create(&path)?;
    file.write_all(&vec![0; SYNCED_FILE])?;
    file.sync_all()?;
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .or_else(|_| OpenOptions::new().write(true).open(&path))?;
    let buffer = vec![7_u8; 2 * BLOCK];
    let aligned = buffer.as_ptr().align_offset(BLOCK);
    let block = &buffer[aligned..aligned + BLOCK];
    let sync = |round: u32| {
        file.write_all_at(block, u64::from(round) * BLOCK as u64 % SYNCED_FILE as u64)?;
        file.sync_data()
    };
    let (before, started) = (cpu(), Instant::now());
    for round in 0..SYNCS {
        sync(round)?;
    }
    let each = f64::from(SYNCS);
    let (cpu, wall) = ((cpu() - before) * 1e6 / each, started.elapsed().as_secs_f64() * 1e3 / each);
    let (mut times, started) = (Latencies::default(), Instant::now());
    for round in 0..PACED_SYNCS {
        let due = started + PACE * round;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        sync(round)?;
        // Since it was due: while one takes long, others wait, as records do.
        times.add(due.elapsed());
    }
    let [p999] = times.percentiles([0.999]);
    Ok(Syncs { cpu, wall, p999 })
}

fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    one.set_nodelay(true)?;
    other.set_nodelay(true)?;
    Ok((one, other))
}

fn send_all(sender: &mut TcpStream) -> Result<()> {
    let chunk = vec![7; CHUNK];
    for _ in 0..BULK / CHUNK {
        sender.write_all(&chunk)?;
    }
    Ok(())
}

fn receive_all(receiver: &mut TcpStream) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    while received < BULK {
        received += receiver.read(&mut chunk)?;
    }
    Ok(())
}

/// Returns the seconds of CPU this thread has used.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

const BULK: usize = 1 << 30;
const CHUNK: usize = 256 << 10;
const BLOCK: usize = 4096;
const ROUND_TRIPS: u32 = 20_000;
const SYNCS: u32 = 1_000;
const PACED_SYNCS: u32 = 15_000;
const PACE: Duration = Duration::from_millis(1);
const SYNCED_FILE: usize = 8 << 20;
