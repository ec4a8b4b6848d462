//! What the README tells its readers to type, typed.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Its commands, from the first to the last, but for those that build: the binary is there.
fn commands() -> String {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"));
    let readme = readme.unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines = blocks.flat_map(str::lines);
    let builds = |line: &&str| line.starts_with("cargo ") || line.starts_with("PATH=");
    lines.filter(|line| !builds(line)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_command_of_the_readme_works_in_its_order() {
    let commands = commands();
    let verbs = ["broker", "topic", "produce", "consume", "group describe", "group events", "log"];
    for verb in verbs {
        assert!(commands.contains(&format!("kohort {verb} ")), "nothing of {verb}:\n{commands}");
    }
    let folder = tempfile::tempdir().unwrap();
    let server = common::own_address().to_string();
    let script = format!(
        "set -ex\ntrap 'kill $! 2>/dev/null || true' EXIT\n{}",
        commands.replace("127.0.0.1:9092", &server)
    );
    let binaries = Path::new(env!("CARGO_BIN_EXE_kohort")).parent().unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    let said = folder.path().join("stdout");
    let complaints = folder.path().join("stderr");
    let mut shell = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("KOHORT_BOOTSTRAP_SERVERS", &server)
        .stdout(File::create(&said).unwrap())
        .stderr(File::create(&complaints).unwrap())
        .spawn()
        .unwrap();
    // A dozen processes in a row, one of which waits for a group to form.
    let deadline = Instant::now() + 4 * common::PATIENCE;
    let status = loop {
        if let Some(status) = shell.try_wait().unwrap() {
            break status.code();
        }
        if Instant::now() > deadline {
            shell.kill().unwrap();
            panic!("it did not end: {}", fs::read_to_string(complaints).unwrap());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (said, complaints) =
        (fs::read_to_string(said).unwrap(), fs::read_to_string(complaints).unwrap());
    assert_eq!(status, Some(0), "{said}\n{complaints}");
    for record in [" LH123 18\n", " BA5 -2\n", " LH123 25\n"] {
        assert!(said.contains(record), "{record:?} was not read:\n{said}\n{complaints}");
    }
}
