//! Checks that the programs which the peers need are here and new enough, and says what to install
//! when one is not. Everything missing is told at once.

use std::process::Command;

use anyhow::{Result, bail};

/// Fails with one line per missing tool, each with its next step.
pub(crate) fn check() -> Result<()> {
    let problems: Vec<String> = [
        java("java"),
        java("javac"),
        present("mvn", &["-v"], "install Maven (Debian: `apt-get install maven`)"),
        go(),
        python(),
        present("cc", &["--version"], "install a C compiler (Debian: `apt-get install gcc`)"),
    ]
    .into_iter()
    .filter_map(Result::err)
    .map(|problem| format!("  - {problem}"))
    .collect();
    if !problems.is_empty() {
        bail!("tools that the interop suite needs are missing:\n{}", problems.join("\n"));
    }
    Ok(())
}

fn java(program: &str) -> Result<()> {
    let next = "install a JDK, 17 or newer (Debian: `apt-get install openjdk-17-jdk-headless`)";
    // `java -version` writes `openjdk version "17.0.15"`, `javac -version` writes `javac 17.0.15`.
    let output = output_of(program, &["-version"], next)?;
    let major = output
        .split(|c: char| !c.is_ascii_digit())
        .find(|digits| !digits.is_empty())
        .and_then(|digits| digits.parse::<u32>().ok());
    match major {
        Some(major) if major >= JAVA_MAJOR_MIN => Ok(()),
        _ => bail!("`{program}` is older than {JAVA_MAJOR_MIN} ({}): {next}", first_line(&output)),
    }
}

fn go() -> Result<()> {
    let next = "install Go 1.26 or newer (https://go.dev/dl)";
    let output = output_of("go", &["env", "GOVERSION"], next)?;
    let mut numbers = output
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .filter_map(|digits| digits.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < GO_MIN {
        bail!("`go` is {}: {next}", first_line(&output));
    }
    Ok(())
}

fn python() -> Result<()> {
    let next = "install Python 3.9 or newer with pip and venv \
                (Debian: `apt-get install python3 python3-venv python3-pip`)";
    let check = "import sys, venv, ensurepip; sys.exit(0 if sys.version_info >= (3, 9) else 1)";
    output_of("python3", &["-c", check], next).map(drop)
}

fn present(program: &str, arguments: &[&str], next: &str) -> Result<()> {
    output_of(program, arguments, next).map(drop)
}

/// Returns what a program writes on stdout and stderr; an error names the next step.
fn output_of(program: &str, arguments: &[&str], next: &str) -> Result<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            Ok(text)
        }
        Ok(output) => bail!("`{program} {}` ended with {}: {next}", arguments[0], output.status),
        Err(error) => bail!("`{program}` cannot be run ({error}): {next}"),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Kafka 4's broker and tools are compiled for Java 17.
const JAVA_MAJOR_MIN: u32 = 17;
/// What franz-go's `go.mod` asks for.
const GO_MIN: (u32, u32) = (1, 26);
