//! `myxi check` as somebody runs it in CI: its report in all three forms, its exit codes, and what
//! it finds. Handlers that are broken in one way each are in `check/broken.rs`.

mod broken;
mod brokers;
mod forms;
mod policing;
mod settings;
mod well;

use std::{future::Ready, process::Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::support::{DEADLINE, TempDir, within};

/// What one run came to.
pub struct Checked {
    pub code: Option<i32>,
    pub text: String,
    pub complaints: String,
    report: Value,
    pub junit: String,
}

/// With these flags, in an environment that says nothing.
pub async fn check(flags: &[&str]) -> Checked {
    check_with(flags, &[]).await
}

pub async fn check_with(flags: &[&str], variables: &[(&str, &str)]) -> Checked {
    run(flags, variables, None::<Ready<()>>).await
}

/// With a SIGINT, once this has happened.
pub async fn interrupted(flags: &[&str], when: impl Future<Output = ()>) -> Checked {
    run(flags, &[], Some(when)).await
}

async fn run(
    flags: &[&str],
    variables: &[(&str, &str)],
    interrupted: Option<impl Future<Output = ()>>,
) -> Checked {
    let directory = TempDir::new("check");
    let (json, junit) = (directory.path().join("json"), directory.path().join("junit"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_myxi"));
    command.arg("check").args(flags).arg("--json").arg(&json).arg("--junit").arg(&junit);
    command.env_clear().envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let pid = process.id().expect("it runs").to_string();
    let interrupting = async {
        if let Some(when) = interrupted {
            when.await;
            let kill = Command::new("kill").args(["-INT", &pid]).status().await;
            assert!(kill.is_ok_and(|status| status.success()));
        }
    };
    let ending = within(DEADLINE, "myxi check", process.wait_with_output());
    let (output, ()) = tokio::join!(ending, interrupting);
    let output = output.expect("its output");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let report = std::fs::read_to_string(json).unwrap_or_else(|_| "null".into());
    Checked {
        code: output.status.code(),
        text: text(output.stdout),
        complaints: text(output.stderr),
        report: serde_json::from_str(&report).expect("JSON"),
        junit: std::fs::read_to_string(junit).unwrap_or_default(),
    }
}

impl Checked {
    /// The one check of this name.
    pub fn found(&self, name: &str) -> &Value {
        let mut of_it = self.checks().filter(|check| check["name"] == name);
        let found = of_it.next().unwrap_or_else(|| panic!("no {name}:\n{}", self.text));
        assert!(of_it.next().is_none(), "{name} is there twice:\n{}", self.text);
        found
    }

    fn checks(&self) -> impl Iterator<Item = &Value> {
        self.report["checks"].as_array().expect("checks").iter()
    }

    /// All of this outcome.
    pub fn of(&self, outcome: &str) -> Vec<&str> {
        let of_it = self.checks().filter(|check| check["outcome"] == outcome);
        of_it.map(|check| check["name"].as_str().expect("a name")).collect()
    }

    /// The check failed, and with it the run; its line says this.
    pub fn failed(&self, name: &str, came: &str) {
        self.is("failed", name, came);
        assert_eq!(self.code, Some(1), "{}", self.text);
    }

    pub fn warned(&self, name: &str, came: &str) {
        self.is("warning", name, came);
    }

    pub fn is(&self, outcome: &str, name: &str, came: &str) {
        let found = self.found(name);
        assert_eq!(found["outcome"], outcome, "{name}:\n{}", self.text);
        let said = found["came"].as_str().expect("what came");
        assert!(said.contains(came), "{name}: {said}");
    }
}
