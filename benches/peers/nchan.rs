//! nginx with nchan.

pub async fn start(_: &str) -> anyhow::Result<crate::peer::Running> {
    anyhow::bail!("not yet")
}
