//! Topics and records: each client creates a topic and writes with each codec; all read it back,
//! byte for byte.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::hub::Client;
use crate::sample::Samples;
use crate::suite::{Test, World};

/// Returns a test for each client and codec.
pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for (seed, client) in (1..).zip(Client::ALL) {
        for codec in CODECS {
            let name =
                format!("{}::records_written_with_{codec}_are_read_byte_for_byte", client.name());
            tests.push(Test::new(name, move |world| check(world, client, codec, seed)));
        }
    }
    tests
}

fn check(world: &mut World, writer: Client, codec: &str, seed: u64) -> Result<()> {
    let topic = format!("codec-{}-{codec}", writer.name());
    let samples = Samples {
        seed,
        count: RECORDS,
        partitions: PARTITIONS,
        base_timestamp: world.base_timestamp,
    };
    let driver = world.hub.driver(writer)?;
    world.hub.create(driver, &topic, PARTITIONS)?;
    world.hub.call(driver, produce(&topic, &samples, 0, codec))?;
    let expected = samples.digests();
    for reader in Client::ALL {
        let driver = world.hub.driver(reader)?;
        let consume = json!({ "cmd": "consume", "topic": topic, "partitions": PARTITIONS });
        let answer = world.hub.call(driver, consume)?;
        let found: Vec<(u64, String)> =
            answer["partitions"].as_array().into_iter().flatten().filter_map(digest).collect();
        ensure!(
            found == expected,
            "{} read {found:?} of `{topic}`, expected {expected:?}",
            reader.name()
        );
    }
    Ok(())
}

/// Returns the command that writes sample records from the `from`-th on.
pub(crate) fn produce(topic: &str, samples: &Samples, from: u64, codec: &str) -> Value {
    json!({
        "cmd": "produce",
        "topic": topic,
        "partitions": samples.partitions,
        "seed": samples.seed,
        "from": from,
        "count": samples.count,
        "codec": codec,
        "base_ts": samples.base_timestamp,
    })
}

fn digest(partition: &Value) -> Option<(u64, String)> {
    Some((partition["count"].as_u64()?, partition["sha256"].as_str()?.to_owned()))
}

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PARTITIONS: u64 = 3;
/// Enough for several batches per partition and for each special case of a sample record.
const RECORDS: u64 = 600;
