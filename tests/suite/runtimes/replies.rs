//! What runtimes make of replies: too large, compressed, or an exception in their place.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{began, finish, finished, gateway, start, unknown};
use crate::support::{process::Myxi, runtime::Runtime};

// A server of Java's has no limit for what it sends.
in_languages!(a_reply_over_the_limit_of_a_runtime_may_have_happened: Python Go Node Ruby);

/// The handler is done, and the runtime finds its reply too large.
async fn a_reply_over_the_limit_of_a_runtime_may_have_happened(runtime: Runtime) {
    let (app, gateway) = start(runtime, &["max-send=1024"]).await;
    let mut client = gateway.client().await;
    assert_eq!(client.error("Large", json!(7)).await, unknown("Busy"));
    runtime_is_blamed(&gateway).await;
    finish(app, &[began(7), finished(7)]).await;
}

in_languages!(an_action_over_the_limit_of_a_runtime_may_have_happened_for_all_one_knows:
    Python Go Node Java Ruby);

/// The handler never sees it. The status is the same.
async fn an_action_over_the_limit_of_a_runtime_may_have_happened_for_all_one_knows(
    runtime: Runtime,
) {
    let (app, gateway) = start(runtime, &["max-receive=1024"]).await;
    let mut client = gateway.client().await;
    let error = client.error("Small", json!("x".repeat(4096))).await;
    assert_eq!(error, unknown("Busy"));
    runtime_is_blamed(&gateway).await;
    finish(app, &[]).await;
}

/// The log says what came, and not that too many calls were in flight here.
async fn runtime_is_blamed(gateway: &Myxi) {
    let line = gateway.logged("RESOURCE_EXHAUSTED").await;
    let problem = line.to_lowercase();
    let size =
        ["larger than max", "exceeds maximum size"].iter().any(|part| problem.contains(part));
    assert!(line.contains("HandleAction") && size, "{line}");
    let log = gateway.log();
    assert!(!log.iter().any(|line| line.contains("in flight")), "{log:#?}");
}

in_languages!(an_exception_may_come_after_its_action_has_happened: Python Go Node Java Ruby);

async fn an_exception_may_come_after_its_action_has_happened(runtime: Runtime) {
    let (app, gateway) = start(runtime, &[]).await;
    let mut client = gateway.client().await;
    assert_eq!(client.error("Throw", json!(3)).await, unknown("InternalError"));
    let line = gateway.logged("UNKNOWN").await;
    let said = match runtime {
        Runtime::Python | Runtime::Go | Runtime::Ruby => "thrown by the handler",
        // These keep it to themselves.
        Runtime::Java => "Application error processing RPC",
        Runtime::Node => "Unknown error",
    };
    assert!(line.contains("HandleAction") && line.contains(said), "{line}");
    // Nobody else notices.
    assert_eq!(client.request("Act", json!(4)).await["event"], "Answer");
    finish(app, &[began(3), began(4), finished(4)]).await;
}

// A server of Node's compresses nothing.
in_languages!(compressed_replies_are_understood: Python Go Java Ruby);

async fn compressed_replies_are_understood(runtime: Runtime) {
    let (app, port) = runtime.start(&["gzip"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let own = listener.local_addr().expect("its address").port();
    let application = tokio::spawn(overheard(listener, port));
    let gateway = gateway(own, &[]).await;
    let mut client = gateway.client().await;
    client.subscribe("widgets", "1").await;
    let answer = client.request("Large", json!(5)).await;
    assert_eq!(answer["payload"], "x".repeat(4096));
    drop(gateway);
    finish(app, &[began(5), finished(5)]).await;
    let said = application.await.expect("overheard");
    let has = |part: &[u8]| said.windows(part.len()).any(|window| window == part);
    assert!(!has(&[b'x'; 64]), "{runtime:?} compressed nothing");
    // The magic number of gzip.
    assert!(has(&[0x1f, 0x8b]), "{runtime:?} compressed nothing");
}

/// Passes one connection on to a port; what was said there.
async fn overheard(listener: TcpListener, port: u16) -> Vec<u8> {
    let (gateway, _) = listener.accept().await.expect("the gateway");
    let application = TcpStream::connect(("127.0.0.1", port)).await.expect("the application");
    let (mut gateway_says, mut to_gateway) = gateway.into_split();
    let (mut application_says, mut to_application) = application.into_split();
    let asking = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut gateway_says, &mut to_application).await;
    });
    let mut said = Vec::new();
    loop {
        let before = said.len();
        let Ok(1..) = application_says.read_buf(&mut said).await else { break };
        if to_gateway.write_all(&said[before..]).await.is_err() {
            break;
        }
    }
    let _ = asking.await;
    said
}
