//! Where and with what it was measured.

use std::fs;

use crate::{installed::output, load::available, peer::Peer, placement::Placement};

/// A few lines of Markdown.
pub fn describe(peers: &[Box<dyn Peer>], placement: &Placement) -> String {
    let versions: Vec<_> = peers.iter().map(|peer| peer.version()).collect();
    let command: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let command = format!("cargo bench --bench peers -- {}", command.join(" "));
    format!(
        "- Date: {}\n- Machine: {}, {} processors; Linux {}\n- Processors: the server {}, the \
         load side {}\n- Versions: {}\n- Command: `{}`\n",
        output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        model(),
        available().len(),
        output("uname", &["-r"]),
        placement.server,
        placement.load,
        versions.join("; "),
        command.trim_end_matches([' ', '-']),
    )
}

fn model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    model.and_then(|line| line.split_once(": ")).map_or("?", |(_, model)| model).to_owned()
}
