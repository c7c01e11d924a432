//! The gateway as it was at another commit, to be measured beside the one that is built now.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

/// Builds it below the target directory, once for each commit, and returns the program.
pub fn build(commit: &str) -> anyhow::Result<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = || {
        let mut git = Command::new("git");
        git.current_dir(repository);
        git
    };
    let parsed = git().args(["rev-parse", "--verify", "--short"]).arg(commit).output()?;
    ensure!(parsed.status.success(), "{commit} is no commit here");
    let name = String::from_utf8(parsed.stdout)?.trim().to_owned();

    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("before").join(&name);
    let program = directory.join("target/release/myxi");
    if program.exists() {
        return Ok(program);
    }
    let (archive, source) = (directory.join("source.tar"), directory.join("source"));
    fs::create_dir_all(&source)?;
    run(git().args(["archive", "-o"]).arg(&archive).arg(&name))?;
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&source))?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    cargo.current_dir(&source).args(["build", "--release", "--bin=myxi", "--target-dir"]);
    run(cargo.arg(directory.join("target")))?;
    Ok(program)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| name.clone())?;
    ensure!(status.success(), "{name}: {status}");
    Ok(())
}
