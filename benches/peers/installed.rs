//! What is installed on this machine.

use std::process::Command;

use anyhow::ensure;

/// A program that is not there says what to install.
pub fn require(program: &str, install: &str) -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&path);
    let found = directories.any(|directory| directory.join(program).exists());
    ensure!(found, "no {program}: install {install}");
    Ok(())
}

/// The version of one of Debian's packages.
pub fn package(name: &str) -> String {
    output("dpkg-query", &["-W", "-f", "${Version}", name])
}

/// What a program prints.
pub fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.ok().filter(|said| !said.is_empty()).unwrap_or_else(|| format!("{program}: ?"))
}
