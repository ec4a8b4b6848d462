//! What Kafka sees before it is measured: members of some small groups that join, heartbeat as fast as
//! they are answered, and leave. Its compiler needs that; ours was compiled before.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use super::peer::Peer;
use super::{consumer, large, many};
use crate::bench::target::Target;

/// Warms up for classic groups.
pub(super) async fn classic(target: &Target) -> Result<()> {
    if !target.column.warms_up() {
        return Ok(());
    }
    let mut members = JoinSet::new();
    for (mut peer, of_peer) in many::settle(&target.broker.address(), "warm", 20, 3, 20).await? {
        let end = Instant::now() + TIME;
        members.spawn(async move {
            while Instant::now() < end {
                for member in &of_peer {
                    let code = peer.call(&member.heartbeat(), 4).await?.error_code;
                    ensure!(code.is_ok(), "a heartbeat was answered with {code}");
                }
            }
            for member in &of_peer {
                member.leave(&mut peer).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = members.join_next().await {
        ended??;
    }
    Ok(())
}

/// Warms up for groups of the new protocol.
pub(super) async fn consumer(target: &Target) -> Result<()> {
    if !target.column.warms_up() {
        return Ok(());
    }
    let address = target.broker.address();
    large::create_topic(&address, "warm", 20).await?;
    let mut members = JoinSet::new();
    for number in 0..20 {
        let mut peer = Peer::connect(&address, format!("warm-{number}")).await?;
        members.spawn(async move {
            let mut member = consumer::Member::new("warm", "warm", number);
            let end = Instant::now() + TIME;
            while Instant::now() < end {
                member.beat(&mut peer).await?;
            }
            member.leave(&mut peer).await
        });
    }
    while let Some(ended) = members.join_next().await {
        ended??;
    }
    Ok(())
}

const TIME: Duration = Duration::from_secs(6);
