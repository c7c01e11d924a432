//! What the operating system counted: processor time, memory and descriptors of a process
//! with all its children, and of single threads.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    time::Duration,
};

/// Processor time of a process and everything it started, to the nanosecond. Threads and
/// processes that have ended meanwhile are not in it: the servers measured here keep theirs.
pub fn cpu(process: u32) -> Duration {
    let threads = |process| fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    tree(process).into_iter().flat_map(threads).flatten().map(|task| on_cpu(&task.path())).sum()
}

/// Of a thread of this process.
pub fn cpu_of_thread(thread: u32) -> Duration {
    on_cpu(Path::new(&format!("/proc/self/task/{thread}")))
}

/// Of the thread that asks.
pub fn own_cpu() -> Duration {
    on_cpu(Path::new("/proc/thread-self"))
}

/// Proportional set size in KiB, children included: what is shared counts once.
pub fn memory(process: u32) -> u64 {
    let pss = |process| {
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    tree(process).into_iter().filter_map(pss).sum()
}

/// Open descriptors, children included.
pub fn descriptors(process: u32) -> usize {
    let open = |process| fs::read_dir(format!("/proc/{process}/fd")).ok().map(Iterator::count);
    tree(process).into_iter().filter_map(open).sum()
}

/// Threads, children included.
pub fn threads(process: u32) -> usize {
    let tasks = |process| fs::read_dir(format!("/proc/{process}/task")).ok().map(Iterator::count);
    tree(process).into_iter().filter_map(tasks).sum()
}

pub fn this_thread() -> u32 {
    let path = fs::read_link("/proc/thread-self").expect("Linux");
    let thread = path.file_name().and_then(|name| name.to_str()?.parse().ok());
    thread.expect("a thread's number")
}

/// The first figure of schedstat: nanoseconds on a processor.
fn on_cpu(task: &Path) -> Duration {
    let schedstat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    let nanos = schedstat.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn tree(root: u32) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = parent(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let (mut tree, mut next) = (HashSet::new(), vec![root]);
    while let Some(process) = next.pop() {
        tree.insert(process);
        next.extend(children.remove(&process).into_iter().flatten());
    }
    tree
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name in brackets, the 2nd field.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}
