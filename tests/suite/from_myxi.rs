//! The handler of `docs/from-myxi.md`, as it stands there, with pages of the original. Without
//! Rails, and with a stand-in for the gem: what the handler uses of both is here.

use std::{fs, path::Path};

use serde_json::json;
use tokio::process::Command;

use crate::support::{
    DEADLINE, TempDir, client::Client, handler::free_address, process::Myxi, runtime::built,
    script::Script, within,
};

const GUIDE: &str = include_str!("../../docs/from-myxi.md");

/// What the guide's handler finds around it.
const ENVIRONMENT: &str = include_str!("../original/environment.rb");
const EXCHANGE: &str = include_str!("../original/exchange.rb");
const ACTION: &str = include_str!("../original/action.rb");
const FURTHER_ACTIONS: &str = include_str!("../original/further_actions.rb");

/// The block of the guide's Ruby that begins with this file's name.
fn file(name: &str) -> String {
    let comment = format!("# {name}\n");
    let (_, block) = GUIDE.split_once(&comment).expect(name);
    let (block, _) = block.split_once("```").expect("its end");
    comment + block
}

/// The handler in a directory of its own, and where it listens.
async fn handler(directory: &Path) -> (Script, String) {
    let address = free_address().to_string();
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("written");
    };
    write("config/environment.rb", ENVIRONMENT);
    write("gem/myxi/exchange.rb", EXCHANGE);
    write("gem/myxi/action.rb", ACTION);
    write("my_myxi_actions.rb", &(file("my_myxi_actions.rb") + FURTHER_ACTIONS));
    let handler = file("myxi_handler.rb");
    assert!(handler.contains("'127.0.0.1:50051'"));
    write("myxi_handler.rb", &handler.replace("127.0.0.1:50051", &address));
    let mut ruby = Command::new("ruby");
    ruby.arg("-I").arg(directory.join("gem")).arg("-I").arg(built("ruby"));
    ruby.arg(directory.join("myxi_handler.rb"));
    (Script::start("the guide's handler", ruby), address)
}

#[tokio::test]
async fn the_handler_of_the_guide_runs_the_blocks_of_the_original() {
    let directory = TempDir::new("from-myxi");
    let (_app, address) = handler(directory.path()).await;
    let mut command = Myxi::bare_with(&["--exchange=widgets,gadgets", "--compatibility=myxi"]);
    command.args(["--max-in-flight=16", &format!("--action-handler=http://{address}")]);
    let gateway = Myxi::run(command).await;
    gateway.ready().await;
    let url = format!("ws://{}/pushwss", gateway.clients());
    let mut page = Client::connect_to(&url, gateway.clients()).await.undocumented();
    page.event("Welcome").await;

    let widget = |key| json!({"exchange": "widgets", "routing_key": key});
    let refused = page.error("Subscribe", widget(7)).await;
    assert_eq!(refused["error"], "SubscriptionDenied");
    assert_eq!(page.error("Count", json!({})).await, json!({"error": "AuthRequired"}));
    let wrong = page.error("Authenticate", json!({"session_token": "x"})).await;
    assert_eq!(wrong, json!({"error": "InvalidSessionToken"}));
    let known = page.request("Authenticate", json!({"session_token": "sesame"})).await;
    assert_eq!(known["event"], "Authenticated");
    assert_eq!(known["payload"], json!({"username": "adam"}));

    assert_eq!(page.request("Subscribe", widget(7)).await["event"], "Subscribed");
    assert_eq!(page.error("Subscribe", widget(13)).await["error"], "SubscriptionDenied");
    let unknown = json!({"exchange": "gadgets", "routing_key": 1});
    assert_eq!(page.error("Subscribe", unknown).await["error"], "InvalidExchange");
    for count in [1, 2] {
        let counted = page.request("Count", json!({})).await;
        assert_eq!(counted["payload"], json!({"count": count, "by": "adam"}));
    }
    let raised = page.request("Raise", json!({"text": "no"})).await;
    assert_eq!(raised["event"], "InternalError");
    assert_eq!(raised["payload"], json!({"error": "ArgumentError", "message": "no"}));
    assert_eq!(page.error("Dance", json!({})).await["error"], "InvalidAction");
    page.send(json!({"action": "Follow", "payload": {"id": 8}})).await;
    assert_eq!(page.event("Subscribed").await["payload"]["routing_key"], "8");

    gateway.push("widgets", "7", "Changed", json!({"quantity": 3})).await;
    assert_eq!(page.event("Changed").await["payload"], json!({"quantity": 3}));
    // What it may not have any more is gone at once.
    page.send(json!({"action": "Leave"})).await;
    for key in ["7", "8"] {
        let fits = |message: &serde_json::Value| {
            message["event"] == "Unsubscribed" && message["payload"]["routing_key"] == key
        };
        within(DEADLINE, "the end of a subscription", page.await_that(fits)).await;
    }
}
