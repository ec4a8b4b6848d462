//! Finding a group, or saying why it cannot be described.

use anyhow::bail;
use kohort::admin::{Admin, GroupDescription};

/// Finds a group. Of one that is of another kind than can be described, it says so.
pub(super) async fn find(admin: &Admin, group: &str) -> anyhow::Result<GroupDescription> {
    let mut groups = admin.describe_groups(vec![group.to_owned()]).await?;
    let described = groups
        .remove(group)
        .ok_or_else(|| anyhow::anyhow!("the broker's answer does not mention group `{group}`"))?;
    if described.is_err()
        && let Some(listed) = admin.list_groups().await?.iter().find(|it| it.group_id == group)
        && !matches!(&*listed.group_type, "" | "classic" | "consumer")
    {
        bail!("group `{group}` is a {} group, which is not supported", listed.group_type);
    }
    Ok(described?)
}
