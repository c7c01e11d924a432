//! The languages of `tests/runtimes`, and its handlers as processes.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{python, script::Script};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    Python,
    Go,
    Node,
    Java,
    Ruby,
}

impl Runtime {
    pub const ALL: [Self; 5] = [Self::Python, Self::Go, Self::Node, Self::Java, Self::Ruby];

    /// Its handler with options of `tests/runtimes/README.md`, and the port it listens on.
    pub async fn start(self, options: &[&str]) -> (Script, u16) {
        let mut command = self.command();
        command.args(options);
        let mut app = Script::start(&format!("the handler in {self:?}"), command);
        let line = app.line().await.expect("its port");
        let port = line.strip_prefix("port ").expect("its port");
        (app, port.parse().expect("a port"))
    }

    /// How many calls its handler carries out at once, unless told otherwise.
    pub fn at_once(self) -> usize {
        match self {
            Self::Python | Self::Ruby => 4,
            Self::Go | Self::Node | Self::Java => usize::MAX,
        }
    }

    fn command(self) -> Command {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runtimes");
        match self {
            Self::Python => python::of_tests("runtimes/python/handler.py"),
            Self::Go => Command::new(built("go/handler")),
            Self::Node => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", built("node/node_modules"));
                command.arg(sources.join("node/handler.js"));
                command
            }
            Self::Java => {
                let mut command = Command::new("java");
                // It starts many times, and each time for a short while.
                command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
                let (classes, libraries) = (built("java/classes"), built("java/lib"));
                command.arg(format!("{}:{}/*", classes.display(), libraries.display()));
                command.arg("Handler");
                command
            }
            Self::Ruby => {
                let mut command = Command::new("ruby");
                command.arg("-I").arg(built("ruby")).arg(sources.join("ruby/handler.rb"));
                command
            }
        }
    }
}

/// What `tests/runtimes/build` has built.
pub fn built(path: &str) -> PathBuf {
    let Some(runtimes) = std::env::var_os("MYXI_TEST_RUNTIMES") else {
        panic!(
            "MYXI_TEST_RUNTIMES is not set: run scripts/test, or name the directory that \
             tests/runtimes/build was given"
        )
    };
    let path = Path::new(&runtimes).join(path);
    assert!(path.exists(), "there is no {}: run scripts/test", path.display());
    path
}
