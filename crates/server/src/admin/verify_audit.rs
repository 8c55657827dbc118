//! `admin verify-audit`.

use super::with_app;
use crate::chain::{self, What};
use crate::cli::{DataArgs, print};
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;
use uuid::Uuid;

/// Findings that are printed; beyond, something is so wrong that more of them say no more.
const MAX_PRINTED: usize = 1_000;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    data: DataArgs,
    /// One partner's alone, by its id.
    #[arg(long, value_name = "ID")]
    tenant: Option<Uuid>,
    /// A file that the server wrote anchors into (`serve --audit-anchor`); may be given several times.
    #[arg(long = "anchor", value_name = "FILE")]
    anchors: Vec<PathBuf>,
    /// Leave the object store alone: neither recordings' bytes nor the anchors there are read.
    #[arg(long)]
    without_objects: bool,
}

pub(super) async fn run(args: VerifyArgs) -> anyhow::Result<()> {
    let VerifyArgs { data, tenant, anchors: files, without_objects } = args;
    let (mut anchors, mut strange) = (Vec::new(), Vec::new());
    for file in &files {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let (read, others) = chain::read_anchors(&text);
        anchors.extend(read);
        strange.extend(others.iter().map(|line| format!("line {line} of {} is no anchor", file.display())));
    }
    with_app(&data, async |app| {
        let report = chain::verify(app, What { tenant, anchors, without_objects }).await?;
        report.notes.iter().try_for_each(|note| print(&format!("[INFO] {note}")))?;
        let findings: Vec<&String> = strange.iter().chain(&report.findings).collect();
        findings.iter().take(MAX_PRINTED).try_for_each(|finding| print(&format!("[FAIL] {finding}")))?;
        let chain::Report { chains, entries, objects, anchors, .. } = report;
        let looked_at = format!("{entries} entries of {chains} chains, {objects} objects, {anchors} anchors");
        anyhow::ensure!(findings.is_empty(), "{} findings in {looked_at}", findings.len());
        print(&format!("[OK] {looked_at}"))
    })
    .await
}
