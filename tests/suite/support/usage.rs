//! What a process uses, as the operating system counts it.

use std::{fs, process::Command, thread::available_parallelism, time::Duration};

/// By its id.
#[derive(Debug, Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// Gives the process a processor of its own, and the others to this one; nothing where
    /// there is only one. What runs on the same processor delays what it is to measure.
    pub fn set_apart(self) {
        let others = available_parallelism().map_or(0, |count| count.get() - 1);
        if others == 0 {
            return;
        }
        for (processors, process) in [("0", self.0), (&format!("1-{others}"), std::process::id())] {
            let process = process.to_string();
            let taskset = Command::new("taskset").args(["-acp", processors, &process]).output();
            assert!(taskset.expect("util-linux").status.success(), "{processors}: {process}");
        }
    }

    pub fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0)).expect("a running process").count()
    }

    /// What it has written to, in bytes. Its program's own pages are shared with every other
    /// gateway that runs from the same file, and would seem to grow when one of those ends.
    pub fn memory(self) -> i64 {
        let path = format!("/proc/{}/smaps_rollup", self.0);
        let text = fs::read_to_string(path).expect("a running process");
        let anonymous = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let kib = anonymous
            .expect("a size")
            .trim()
            .trim_end_matches(" kB")
            .parse::<i64>()
            .expect("a number");
        kib * 1024
    }

    /// The most that it ever held, in bytes.
    pub fn peak(self) -> u64 {
        let path = format!("/proc/{}/status", self.0);
        let text = fs::read_to_string(path).expect("a running process");
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Of all its threads.
    pub fn cpu(self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).expect("a running process");
        let nanos = tasks.flatten().map(|task| {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            stat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }
}
