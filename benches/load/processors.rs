//! Who runs where. Lists of processors are written as `taskset` reads them: `0`, `0,2-3`.

use std::{fs, process::Command};

use anyhow::{Context, ensure};

use super::usage;

/// The processors this benchmark may use, one by one.
pub fn available() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap_or("0").trim().split(',').flat_map(range).collect()
}

fn range(range: &str) -> Vec<usize> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first..=last).collect(),
        _ => Vec::new(),
    }
}

/// Servers are started through `taskset`; this is for threads of this process.
pub fn pin_this_thread(processors: &str) -> anyhow::Result<()> {
    let thread = usage::this_thread().to_string();
    let output = Command::new("taskset").args(["-cp", processors, &thread]).output();
    let output = output.context("taskset (Debian's util-linux)")?;
    ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
