//! Damage and want of space, on real files and with the real binary: what a start says, what `kohort
//! log` says and mends, and what goes on working meanwhile.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use common::small_disk::SmallDisk;
use common::wire::{Record, Wire, records};
use common::{Broker, PATIENCE, broker_command, kohort, words};
use kohort_protocol::ErrorCode;

/// Frames of the write-ahead log begin on this boundary.
const BLOCK: usize = 4096;

/// A topic with these values, each in a commit of its own; the broker is killed afterwards.
fn killed_broker_with(values: &[&str]) -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path(), &[]);
    broker.stdout(&["topic", "create", "orders"], "");
    for value in values {
        broker.stdout(&["produce", "orders"], &format!("{value}\n"));
    }
    broker.kill();
    data
}

/// The file of the write-ahead log and the position of the frame in it that holds `value`.
fn frame_with(data: &Path, value: &str) -> (PathBuf, usize) {
    let path = data.join("wal/00000001.wal");
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(value.len()).position(|window| window == value.as_bytes()).unwrap();
    (path, at / BLOCK * BLOCK)
}

fn flip_byte(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

fn log_command(verb: &str, data: &Path, more: &[&str]) -> Output {
    kohort(&[&["log", verb, "--data", data.to_str().unwrap()], more].concat(), "", &[])
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn consume(broker: &Broker) -> String {
    broker.stdout(&["consume", "orders", "--from-beginning", "-e", "-f", "%o=%s\n"], "")
}

/// Every file below a folder with its content; the lock file tells only who held the lock last.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut content(&path));
        } else if !path.ends_with(".lock") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn an_interrupted_last_commit_is_cut_off_and_all_before_it_is_there() {
    let data = killed_broker_with(&["first-value", "second-value", "third-value"]);
    let (wal, position) = frame_with(data.path(), "third-value");
    // Of the block that was being written only the first sector came to the disk.
    let file = File::options().write(true).open(&wal).unwrap();
    file.write_all_at(&[0; BLOCK - 100], position as u64 + 100).unwrap();

    let verified = log_command("verify", data.path(), &[]);
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    assert!(said(&verified).contains("interrupted write"), "{}", said(&verified));

    let broker = Broker::start(data.path(), &[]);
    assert_eq!(consume(&broker), "0=first-value\n1=second-value\n");
    broker.stdout(&["produce", "orders"], "fourth-value\n");
    assert_eq!(consume(&broker), "0=first-value\n1=second-value\n2=fourth-value\n");
    let log = broker.kill();
    let cut = log.lines().find(|line| line.contains("cut off an unfinished commit")).expect(&log);
    assert!(cut.contains(wal.to_str().unwrap()), "{cut}");
    assert!(cut.contains(&format!("position={position}")), "{cut}");
}

#[test]
fn a_damaged_commit_stops_the_start_until_it_is_repaired() {
    let data = killed_broker_with(&["first-value", "second-value", "third-value"]);
    let (wal, position) = frame_with(data.path(), "second-value");
    flip_byte(&wal, position as u64 + 100);
    let place = format!("{} is damaged at byte {position}", wal.display());
    let before = content(data.path());

    let refused = broker_command(data.path(), &[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains(&place), "{}", words(&refused));
    assert!(words(&refused).contains("kohort log repair --data"), "{}", words(&refused));

    let verified = log_command("verify", data.path(), &[]);
    assert_eq!(verified.status.code(), Some(1));
    let damage = format!("damaged: {} at byte {position}: ", wal.display());
    assert!(said(&verified).contains(&damage), "{}", said(&verified));

    let asked = log_command("repair", data.path(), &[]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(words(&asked).contains("--yes"), "{}", words(&asked));
    assert!(content(data.path()) == before, "nothing is changed without --yes");

    let repaired = log_command("repair", data.path(), &["--yes"]);
    assert_eq!(repaired.status.code(), Some(0), "{}", words(&repaired));
    let kept = data.path().join("damaged-1");
    assert!(said(&repaired).contains(kept.to_str().unwrap()), "{}", said(&repaired));
    assert_eq!(fs::read(kept.join("wal_00000001.wal")).unwrap(), before[&wal]);
    assert_eq!(log_command("verify", data.path(), &[]).status.code(), Some(0));

    let broker = Broker::start(data.path(), &[]);
    assert_eq!(consume(&broker), "0=first-value\n2=third-value\n");
}

#[test]
fn a_sound_folder_is_left_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path(), &[]);
    broker.stdout(&["topic", "create", "orders"], "");
    broker.stdout(&["produce", "orders"], "value\n");
    assert_eq!(broker.terminate(), Some(0));
    let before = content(data.path());
    for more in [&["--yes"][..], &[]] {
        let repaired = log_command("repair", data.path(), more);
        assert_eq!(repaired.status.code(), Some(0), "{}", words(&repaired));
        assert!(words(&repaired).contains("there is nothing to repair"), "{}", words(&repaired));
        assert!(content(data.path()) == before, "{more:?}");
    }
}

#[test]
fn what_was_set_aside_is_told_and_taken_back_only_by_a_repair_that_is_meant() {
    let data = killed_broker_with(&["kept"]);
    assert_eq!(Broker::start(data.path(), &[]).terminate(), Some(0));
    // Another folder's broker knows nothing of the topic.
    let other = tempfile::tempdir().unwrap();
    assert_eq!(Broker::start(other.path(), &[]).terminate(), Some(0));
    let folders = fs::read_dir(data.path().join("partitions")).unwrap().map(Result::unwrap);
    let is_ours = |it: &fs::DirEntry| it.file_name().to_string_lossy().starts_with("orders-0.");
    let ours = folders.filter(is_ours).map(|it| it.file_name()).next().unwrap();
    fs::rename(
        data.path().join("partitions").join(&ours),
        other.path().join("partitions").join(&ours),
    )
    .unwrap();
    assert_eq!(Broker::start(other.path(), &[]).terminate(), Some(0));
    let before = content(other.path());
    let asked = log_command("repair", other.path(), &[]);
    assert_eq!(asked.status.code(), Some(0), "nothing is damaged");
    assert!(said(&asked).contains(" is sound: ") && said(&asked).contains("\nset aside: "));
    let next = "nothing was changed; with --yes what was set aside is taken back";
    assert!(words(&asked).contains(next), "{}", words(&asked));
    assert!(content(other.path()) == before, "it only asked");
    let repaired = said(&log_command("repair", other.path(), &["--yes"]));
    for told in ["orders-0 had been set aside, and is there again", "may be lost as well"] {
        assert!(repaired.contains(told), "{repaired}");
    }
    assert!(!repaired.contains("cluster's id was lost"), "{repaired}");
    assert_eq!(consume(&Broker::start(other.path(), &[])), "0=kept\n");
}

#[test]
fn a_damaged_segment_fails_only_reads_of_that_part() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path(), &["log.segment.bytes=1048576"]);
    for topic in ["big", "other"] {
        broker.stdout(&["topic", "create", topic], "");
    }
    let mut wire = Wire::connect(&broker.address);
    for number in 0..30_u8 {
        assert!(wire.produce("big", &vec![b'a' + number % 26; 100_000]).error_code.is_ok());
        assert!(wire.produce("other", &[number]).error_code.is_ok());
    }
    assert_eq!(broker.terminate(), Some(0));
    let folder = fs::read_dir(data.path().join("partitions"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("big-0."))
        .unwrap();
    // In the middle of the sixth record, of ten in the first of three segments.
    let segment = folder.join("00000000000000000000.log");
    flip_byte(&segment, 550_000);

    let verified = log_command("verify", data.path(), &[]);
    assert_eq!(verified.status.code(), Some(1));
    let report = said(&verified);
    let damage: Vec<&str> = report.lines().filter(|line| line.starts_with("damaged: ")).collect();
    assert!(matches!(damage[..], [one] if one.contains(segment.to_str().unwrap())), "{report}");

    let broker = Broker::start(data.path(), &[]);
    let mut wire = Wire::connect(&broker.address);
    assert_eq!(wire.fetch("big", 0, 5).error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    let before: Vec<i64> = records(&wire.fetch("big", 0, 0)).iter().map(|r| r.0).collect();
    assert_eq!(before, [0, 1, 2, 3, 4], "what is sound before the damage is served");
    assert_eq!(wire.read_all("big", 0, 6).len(), 24, "and what is after it");
    assert_eq!(wire.read_all("other", 0, 0).len(), 30);
    assert_eq!(wire.produce("big", b"more").base_offset, 30);
    broker.kill_once_said(&[segment.to_str().unwrap()]);

    assert_eq!(log_command("repair", data.path(), &["--yes"]).status.code(), Some(0));
    let broker = Broker::start(data.path(), &[]);
    let all = Wire::connect(&broker.address).read_all("big", 0, 0);
    let offsets: Vec<i64> = all.iter().map(|record| record.0).collect();
    assert_eq!(offsets, (0..=30).filter(|offset| *offset != 5).collect::<Vec<i64>>());
}

/// What was produced, by how it was answered.
#[derive(Default)]
struct Produced {
    acked: Vec<Record>,
    /// May be there, or come later.
    timed_out: Vec<Vec<u8>>,
}

impl Produced {
    fn add(&mut self, wire: &mut Wire, value: Vec<u8>) -> ErrorCode {
        let response = wire.produce("orders", &value);
        match response.error_code {
            ErrorCode::NONE => self.acked.push((response.base_offset, value)),
            ErrorCode::REQUEST_TIMED_OUT => self.timed_out.push(value),
            _ => {}
        }
        response.error_code
    }

    /// Checks that from an offset on all is there that was acknowledged, and nothing that was refused.
    fn check(&self, wire: &mut Wire, from: i64) {
        let found = wire.read_all("orders", 0, from);
        let (there, others): (Vec<_>, Vec<_>) =
            found.iter().partition(|record| self.acked.contains(record));
        let expected = self.acked.iter().filter(|(offset, _)| *offset >= from);
        assert!(there.into_iter().eq(expected), "what was acknowledged is there");
        let timed_out = |record: &&Record| self.timed_out.contains(&record.1);
        assert!(others.iter().all(timed_out), "what was refused is not there");
    }
}

#[test]
fn a_full_disk_refuses_produces_and_loses_nothing() {
    let disk = SmallDisk::new("24m");
    let broker = Broker::start(&disk.data(), &[]);
    broker.stdout(&["topic", "create", "orders"], "");
    let mut wire = Wire::connect(&broker.address);
    let mut produced = Produced::default();
    // Small enough for what is left of the log's file to take many of them.
    let mut produce = |wire: &mut Wire, number: usize| {
        produced.add(wire, format!("{number:08}").repeat(2000).into_bytes())
    };
    assert_eq!(produce(&mut wire, 0), ErrorCode::NONE);
    disk.fill();
    let refused_at = (1..2000).find(|number| !produce(&mut wire, *number).is_ok());
    let refused_at = refused_at.expect("a full disk refuses at last");
    for number in refused_at..refused_at + 20 {
        assert_eq!(produce(&mut wire, number), ErrorCode::KAFKA_STORAGE_ERROR);
    }
    // Up and readable, also on a new connection.
    let in_full = Wire::connect(&broker.address).read_all("orders", 0, 0);
    assert_eq!(broker.stdout(&["topic", "list"], ""), "orders\n");

    disk.free();
    let deadline = Instant::now() + PATIENCE;
    while !produce(&mut wire, 5000).is_ok() {
        assert!(Instant::now() < deadline, "produces are still refused although there is space");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for number in 5001..5010 {
        assert_eq!(produce(&mut wire, number), ErrorCode::NONE);
    }
    let acked = &produced.acked;
    assert!(acked.starts_with(&in_full), "what was readable is what was acknowledged");
    produced.check(&mut wire, 0);
    broker.kill_once_said(&["no room for segments or the log", "there is space again"]);
    let broker = Broker::start(&disk.data(), &[]);
    produced.check(&mut Wire::connect(&broker.address), 0);
}

#[test]
fn a_broker_on_a_full_disk_stops_in_order_and_loses_nothing() {
    let disk = SmallDisk::new("24m");
    let broker = Broker::start(&disk.data(), &[]);
    broker.stdout(&["topic", "create", "orders"], "");
    let mut wire = Wire::connect(&broker.address);
    let mut produced = Produced::default();
    let value = "value".repeat(3000).into_bytes();
    assert_eq!(produced.add(&mut wire, value.clone()), ErrorCode::NONE);
    disk.fill();
    while produced.add(&mut wire, value.clone()).is_ok() {}
    assert_eq!(broker.terminate(), Some(0));

    disk.free();
    let broker = Broker::start(&disk.data(), &[]);
    produced.check(&mut Wire::connect(&broker.address), 0);
    assert_eq!(broker.terminate(), Some(0));
}

#[test]
fn deleting_records_on_a_full_disk_makes_room_and_nothing_else_is_lost() {
    let disk = SmallDisk::new("48m");
    let broker = Broker::start(&disk.data(), &["log.segment.bytes=1048576"]);
    broker.stdout(&["topic", "create", "orders"], "");
    let mut wire = Wire::connect(&broker.address);
    let mut produced = Produced::default();
    let produce = |produced: &mut Produced, wire: &mut Wire, number: usize| {
        produced.add(wire, format!("{number:08}").repeat(12_500).into_bytes())
    };
    // Eight segments of ten records, then nothing fits any more.
    for number in 0..80 {
        assert_eq!(produce(&mut produced, &mut wire, number), ErrorCode::NONE);
    }
    broker.until("they are in segments", || segment_bytes(&disk.data(), "orders-0") > 8_000_000);
    disk.fill();
    let refused = (80..2000).any(|number| !produce(&mut produced, &mut wire, number).is_ok());
    assert!(refused, "a full disk refuses at last");
    // What has no place in segments yet goes as well: it would need more than these make.
    let start = produced.acked.last().unwrap().0 - 5;
    assert_eq!(wire.delete_below("orders", start), ErrorCode::NONE);
    let deadline = Instant::now() + PATIENCE;
    while !produce(&mut produced, &mut wire, 5000).is_ok() {
        assert!(Instant::now() < deadline, "produces are still refused although room was made");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    produced.check(&mut wire, start);
    broker.kill();
    disk.free();
    let broker = Broker::start(&disk.data(), &[]);
    produced.check(&mut Wire::connect(&broker.address), start);
}

/// How many bytes of a partition are in segments, while the broker writes them.
fn segment_bytes(data: &Path, partition: &str) -> u64 {
    let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries(data.join("partitions"))
        .filter(|folder| folder.file_name().to_str().unwrap().starts_with(partition));
    let files = folders.flat_map(|folder| entries(folder.path()));
    let segments = files.filter(|file| file.path().extension().is_some_and(|it| it == "log"));
    segments.filter_map(|segment| Some(segment.metadata().ok()?.len())).sum()
}

#[test]
fn every_produce_under_way_when_room_ends_is_answered_and_the_answer_is_true() {
    let disk = SmallDisk::new("24m");
    let broker = Broker::start(&disk.data(), &[]);
    broker.stdout(&["topic", "create", "orders"], "");
    disk.fill();
    // Larger than what is left of the log's file, so the commit itself may find no room.
    let large = [1_u8, 2, 3, 4].map(|who| {
        let address = broker.address.clone();
        std::thread::spawn(move || {
            let mut wire = Wire::connect(&address);
            let answers = (0..40).map(|_| wire.produce("orders", &vec![who; 900_000]));
            let acked = answers.take_while(|answer| answer.error_code.is_ok());
            acked.map(|answer| (answer.base_offset, vec![who; 900_000])).collect::<Vec<_>>()
        })
    });
    let mut wire = Wire::connect(&broker.address);
    let deadline = Instant::now() + PATIENCE;
    // What is under way when room ends is held for as long as its producer is patient.
    while wire.produce("orders", b"small").error_code != ErrorCode::KAFKA_STORAGE_ERROR {
        assert!(Instant::now() < deadline, "nothing is refused on a full disk");
    }
    wire.read_all("orders", 0, 0);
    disk.free();
    let acked = large.map(|thread| thread.join().unwrap()).concat();
    broker.kill();
    let broker = Broker::start(&disk.data(), &[]);
    let found = Wire::connect(&broker.address).read_all("orders", 0, 0);
    for record in acked {
        assert!(found.contains(&record), "the record at {} is lost", record.0);
    }
}

#[test]
fn a_broker_killed_on_a_full_disk_starts_on_it_and_serves_reads() {
    let disk = SmallDisk::new("16m");
    let broker = Broker::start(&disk.data(), &[]);
    broker.stdout(&["topic", "create", "orders"], "");
    broker.stdout(&["produce", "orders"], "first-value\n");
    disk.fill();
    broker.kill();
    // Not even for what the lock's file says.
    fs::write(disk.data().join(".lock"), "").unwrap();
    disk.fill();
    let broker = Broker::start(&disk.data(), &[]);
    let all = Wire::connect(&broker.address).read_all("orders", 0, 0);
    assert_eq!(all, [(0, b"first-value".to_vec())]);
}

#[test]
fn committed_offsets_and_members_are_dumped_in_words() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path(), &["group.initial.rebalance.delay.ms=0"]);
    broker.stdout(&["topic", "create", "orders"], "");
    broker.stdout(&["produce", "orders"], "a\nb\nc\n");
    let group = ["consume", "orders", "-g", "billing", "--from-beginning", "--max-messages", "2"];
    broker.stdout(&group, "");
    broker.kill();
    let dump = || {
        let dumped = log_command("dump", data.path(), &["--offsets"]);
        assert_eq!(dumped.status.code(), Some(0), "{}", words(&dumped));
        said(&dumped)
    };
    let from_wal = dump();
    assert!(from_wal.contains("group `billing` commits orders-0 at 2"), "{from_wal}");
    assert!(from_wal.contains("owns orders-0"), "{from_wal}");
    let batches = said(&log_command("dump", data.path(), &[]));
    assert!(batches.contains("checkpoint: ") && batches.contains("append to "), "{batches}");
    // A clean stop moves all of it to segments.
    assert_eq!(Broker::start(data.path(), &[]).terminate(), Some(0));
    let from_segments = dump();
    assert!(from_segments.starts_with(&from_wal), "{from_segments}");
}

#[test]
fn a_folder_that_is_not_there_or_holds_no_log_is_named_and_not_made() {
    let data = tempfile::tempdir().unwrap();
    let missing = data.path().join("missing");
    for (verb, folder) in
        ["verify", "dump", "repair"].iter().flat_map(|v| [(v, missing.as_path()), (v, data.path())])
    {
        let refused = log_command(verb, folder, if *verb == "repair" { &["--yes"] } else { &[] });
        assert_eq!(refused.status.code(), Some(1), "{verb}");
        assert!(words(&refused).contains(folder.to_str().unwrap()), "{}", words(&refused));
        assert!(fs::read_dir(data.path()).unwrap().next().is_none(), "nothing is made");
    }
}

#[test]
fn a_folder_that_a_broker_holds_is_neither_looked_at_nor_repaired() {
    let data = tempfile::tempdir().unwrap();
    let _broker = Broker::start(data.path(), &[]);
    for (verb, more) in [("verify", &[][..]), ("dump", &[]), ("repair", &["--yes"])] {
        let refused = log_command(verb, data.path(), more);
        assert_eq!(refused.status.code(), Some(1), "{verb}");
        assert!(words(&refused).contains("in use by process"), "{}", words(&refused));
    }
}
