//! A real browser with one page, driven over its DevTools protocol. Killed on drop.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, Command, Stdio},
    thread,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::oneshot};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::{DEADLINE, TempDir, within};

/// Nothing that reaches for the network by itself, asks, needs a display or privileges.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
];

pub struct Page {
    socket: WebSocketStream<TcpStream>,
    /// Of the page within the browser's one DevTools connection.
    session: Option<String>,
    commands: u64,
    events: Vec<Value>,
    _browser: Browser,
}

impl Page {
    /// Starts a browser and waits until it has loaded this.
    pub async fn open(url: &str) -> Self {
        let (browser, devtools) = Browser::start().await;
        let address = devtools.trim_start_matches("ws://").split('/').next().expect("one");
        let request = devtools.as_str().into_client_request().expect("a URL");
        let (socket, _) = within(DEADLINE, "DevTools", async {
            let stream = TcpStream::connect(address).await.expect("a connection");
            client_async(request, stream).await.expect("a WebSocket")
        })
        .await;
        let (commands, events) = (0, Vec::new());
        let mut page = Self { socket, session: None, commands, events, _browser: browser };

        let target = page.command("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = page.command("Target.attachToTarget", attach).await;
        page.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network"] {
            page.command(&format!("{domain}.enable"), json!({})).await;
        }
        page.command("Page.navigate", json!({"url": url})).await;
        page.until("document.readyState === 'complete' && location.href !== 'about:blank'").await;
        page
    }

    /// What an expression, or the promise that it makes, comes to in the page.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let outcome = self.command("Runtime.evaluate", params).await;
        assert!(outcome["exceptionDetails"].is_null(), "{expression}: {outcome}");
        outcome["result"]["value"].clone()
    }

    /// Waits until an expression is true of the page, and answers what it then is. It is
    /// looked at after every change of the document.
    pub async fn until(&mut self, expression: &str) -> Value {
        let millis = DEADLINE.as_millis();
        let waiting = format!(
            "new Promise((resolve) => {{
                const look = () => {{
                    const value = ({expression});
                    if (value) {{ watch.disconnect(); resolve({{ value }}); }}
                }};
                const watch = new MutationObserver(look);
                watch.observe(document, {{
                    subtree: true, childList: true, characterData: true, attributes: true,
                }});
                addEventListener('load', look);
                setTimeout(() => resolve({{ page: document.body.innerText }}), {millis});
                look();
            }})"
        );
        let outcome = self.evaluate(&waiting).await;
        assert!(outcome["page"].is_null(), "{expression}: never true of\n{}", outcome["page"]);
        outcome["value"].clone()
    }

    pub async fn click(&mut self, selector: &str) {
        self.evaluate(&format!("document.querySelector({selector:?}).click()")).await;
    }

    pub async fn fill(&mut self, selector: &str, text: &str) {
        self.evaluate(&format!("document.querySelector({selector:?}).value = {text:?}")).await;
    }

    /// Every URL that the page has asked for, or connected to.
    pub fn requested(&self) -> Vec<&str> {
        let urls = self.events.iter().filter_map(|event| {
            let params = &event["params"];
            match event["method"].as_str()? {
                "Network.requestWillBeSent" => params["request"]["url"].as_str(),
                "Network.webSocketCreated" => params["url"].as_str(),
                _ => None,
            }
        });
        urls.collect()
    }

    /// What went wrong in the page's own code.
    pub fn exceptions(&self) -> Vec<&Value> {
        let thrown = |event: &&Value| event["method"] == "Runtime.exceptionThrown";
        self.events.iter().filter(thrown).collect()
    }

    async fn command(&mut self, method: &str, params: Value) -> Value {
        self.commands += 1;
        let id = self.commands;
        let mut command = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        // The page itself waits up to the deadline, and then says for what.
        within(2 * DEADLINE, method, async {
            self.socket.send(Message::text(command.to_string())).await.expect("sent");
            loop {
                let message = self.socket.next().await.expect("a browser").expect("a message");
                let Message::Text(text) = message else { continue };
                let message: Value = serde_json::from_str(&text).expect("JSON");
                if message["id"] != id {
                    self.events.push(message);
                    continue;
                }
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
        })
        .await
    }
}

/// The process and all that it starts: one group, and crash reporters, which end with it.
struct Browser {
    process: Child,
    _profile: TempDir,
}

impl Browser {
    /// With the URL of its DevTools.
    async fn start() -> (Self, String) {
        let profile = TempDir::new("browser");
        let home = profile.path();
        let homes = ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"].map(|name| (name, home));
        let mut command = Command::new("chromium");
        command.args(FLAGS).arg(format!("--user-data-dir={}", home.display()));
        command.envs(HashMap::from(homes)).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("chromium: {error}; scripts/test installs it"));
        let stderr = process.stderr.take().expect("piped");
        let browser = Self { process, _profile: profile };
        let devtools = within(DEADLINE, "the browser's start", devtools(stderr)).await;
        (browser, devtools)
    }
}

/// Reads what the browser writes to its end, so that it never waits for the test.
async fn devtools(stderr: ChildStderr) -> String {
    let (found, url) = oneshot::channel();
    thread::spawn(move || {
        let mut found = Some(found);
        let mut lines = Vec::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            match (line.strip_prefix("DevTools listening on "), found.take()) {
                (Some(url), Some(found)) => drop(found.send(Ok(url.to_owned()))),
                (None, Some(waiting)) => {
                    lines.push(line);
                    found = Some(waiting);
                }
                (_, None) => {}
            }
        }
        if let Some(found) = found {
            let _ = found.send(Err(lines));
        }
    });
    let found = url.await.expect("it is read to its end");
    found.unwrap_or_else(|lines| panic!("chromium ended: {lines:#?}"))
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.process.wait();
    }
}
