//! A Ruby process that publishes through bunny, as an application of the Ruby original does.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{DEADLINE, within};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/support/bunny.rb");

pub struct Bunny {
    _process: Child,
    orders: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Bunny {
    pub async fn connect(url: &str) -> Self {
        let mut ruby = Command::new("ruby");
        ruby.args([SCRIPT, url]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = ruby.spawn().expect("ruby; scripts/test installs it, and ruby-bunny");
        let orders = process.stdin.take().expect("piped");
        let said = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut bunny = Self { _process: process, orders, said };
        bunny.says("connected").await;
        bunny
    }

    /// Returns when it is written, which is all that the original knows, too.
    pub async fn publish(
        &mut self,
        exchange: &str,
        routing_key: Value,
        event: &str,
        payload: Value,
    ) {
        let order = json!([exchange, routing_key, event, payload]);
        self.orders.write_all(format!("{order}\n").as_bytes()).await.expect("an order");
        self.says("published").await;
    }

    async fn says(&mut self, expected: &str) {
        let line = within(DEADLINE, expected, self.said.next_line()).await.expect("a line");
        assert_eq!(line.as_deref(), Some(expected), "ruby-bunny is needed");
    }
}
