//! The Python that the tests run their scripts with.

use std::{ffi::OsString, path::Path, process::Stdio, time::Duration};

use tokio::process::Command;

use super::within;

/// Has what `scripts/test-requirements.txt` lists.
pub fn python() -> OsString {
    std::env::var_os("MYXI_TEST_PYTHON").unwrap_or_else(|| {
        panic!(
            "MYXI_TEST_PYTHON is not set: run scripts/test, or name a Python that has what \
             scripts/test-requirements.txt lists"
        )
    })
}

/// What a script of `tests/conformance` prints. It must end well, and within the deadline.
pub async fn printed_by(script: &str, args: &[&str], deadline: Duration) -> String {
    let mut command = command(script, args);
    command.stdin(Stdio::null());
    let output = within(deadline, script, command.output()).await.expect("Python runs");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{printed}{complaints}", output.status);
    printed
}

/// Runs a script of `tests/conformance`.
pub fn command(script: &str, args: &[&str]) -> Command {
    let mut command = of_tests(&format!("conformance/{script}"));
    command.args(args);
    command
}

/// Runs a file of `tests`.
pub fn of_tests(file: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
    let mut command = Command::new(python());
    command.arg(path).env("NO_PROXY", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1");
    command.kill_on_drop(true);
    command
}
