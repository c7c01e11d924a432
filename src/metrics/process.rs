//! What the system says of this process, where there is `/proc`.

use std::{fs, time::Duration};

/// In what `/proc` counts time, per second: the same on every Linux.
const TICKS: u64 = 100;

/// User and system time together.
pub(super) fn cpu_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the name in parentheses, may itself hold both.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks = |field: usize| rest.split_ascii_whitespace().nth(field)?.parse::<u64>().ok();
    // Fields 14 and 15 of the file.
    let ticks = ticks(11)? + ticks(12)?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS))
}

pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_both() {
        assert!(cpu_time().is_some());
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
