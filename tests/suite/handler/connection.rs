//! The connection to the application: found dead where it is, and never a nuisance to the
//! server at its other end.

use h2::server::{Connection, SendResponse};
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::process::Myxi;

use super::*;

type Server = Connection<TcpStream, bytes::Bytes>;

/// Answers all that is asked from now on.
async fn serve(connection: &mut Server) {
    while let Some(Ok((_request, respond))) = connection.accept().await {
        succeed(respond);
    }
}

/// Answers what is asked until an action comes, which waits.
async fn until_action(connection: &mut Server) -> SendResponse<bytes::Bytes> {
    while let Some(Ok((request, respond))) = connection.accept().await {
        if request.uri().path().ends_with("/HandleAction") {
            return respond;
        }
        succeed(respond);
    }
    panic!("an action comes");
}

#[tokio::test]
async fn a_peer_that_went_silent_is_replaced_within_two_timeouts() {
    let server = RawServer::start(|stream, number| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        if number == 0 {
            // As a firewall that forgets one connection, and lets others through.
            succeed(until_action(&mut connection).await);
            let second = until_action(&mut connection).await;
            std::future::pending::<()>().await;
            drop((second, connection));
            return;
        }
        serve(&mut connection).await;
    })
    .await;
    let client = impatient(&server.endpoint(), Duration::from_secs(1));
    act(&client, "Act").await.unwrap();
    let mut lost = 0;
    while let Err(error) = act(&client, "Act").await {
        assert_eq!(kind(&error), "Timeout");
        lost += 1;
        // One that is not answered, one during the ping, and one that may just precede its end.
        assert!(lost <= 3, "{lost}");
    }
    assert!(lost > 0, "it went silent");
}

#[tokio::test]
async fn an_application_that_is_alive_gets_two_pings_and_then_a_new_connection() {
    let pings = Arc::new(Mutex::new(Vec::<usize>::new()));
    let counted = pings.clone();
    let server = RawServer::start(move |mut stream, _| {
        let counted = counted.clone();
        let this = {
            let mut counts = counted.lock().unwrap();
            counts.push(0);
            counts.len() - 1
        };
        async move {
            raw::answer_no_call(&mut stream, || counted.lock().unwrap()[this] += 1).await;
        }
    })
    .await;
    let client = impatient(&server.endpoint(), Duration::from_millis(200));
    while pings.lock().unwrap().len() < 4 {
        assert_kind(&act(&client, "Hang").await, "Timeout");
    }
    let pings = pings.lock().unwrap();
    assert_eq!(pings[..3], [2, 2, 2], "{pings:?}");
}

#[tokio::test]
async fn an_answer_gives_the_pings_back() {
    let app = TestHandler::start().await;
    app.on("Act", |_| Ok(reply::events([]))).hang_on("Hang");
    let client = impatient(&app.endpoint(), Duration::from_secs(2));
    client.ready().await;
    for _ in 0..5 {
        assert_kind(&act(&client, "Hang").await, "Timeout");
        while act(&client, "Act").await.is_err() {}
    }
    assert_eq!(app.probes(), 1, "one connection");
}

#[tokio::test]
async fn an_application_that_has_enough_of_this_gateway_is_left_alone_for_a_while() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let server = RawServer::start(move |stream, number| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            if number == 0 {
                let action = until_action(&mut connection).await;
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                let _ = connection.accept().await;
                drop(action);
                return;
            }
            serve(&mut connection).await;
        }
    })
    .await;
    let client = client(&server.endpoint());
    client.ready().await;
    let begun = Instant::now();
    assert_kind(&act(&client, "Act").await, "Lost");
    client.problem_with("sent this gateway away").await;
    assert_kind(&act(&client, "Act").await, "Unreachable");
    assert_eq!(connections.load(Ordering::SeqCst), 1, "no other connection yet");
    client.ready().await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "it waits before it comes back");
    act(&client, "Act").await.unwrap();
}

#[tokio::test]
async fn the_log_says_that_the_application_had_enough() {
    let server = RawServer::start(move |stream, _| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let action = until_action(&mut connection).await;
        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        let _ = connection.accept().await;
        drop(action);
    })
    .await;
    let mut command = Myxi::bare();
    command.arg("--exchange=widgets").arg(format!("--action-handler={}", server.endpoint()));
    let gateway = Myxi::run(command).await;
    gateway.ready().await;
    let mut client = gateway.client().await;
    client.send(json!({"action": "Act", "tag": 1})).await;
    gateway.logged("it sent this gateway away").await;
}

#[tokio::test]
async fn a_compressed_reply_is_read() {
    const GZIP_OF_NOTHING: &[u8] =
        b"\x01\0\0\0\x14\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";
    let server = RawServer::http2(|mut respond, _| {
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-encoding", "gzip");
        let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
        stream.send_data(GZIP_OF_NOTHING.into(), false).unwrap();
        let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
        stream.send_trailers(trailers.into_iter().collect()).unwrap();
    })
    .await;
    act(&client(&server.endpoint()), "Act").await.unwrap();
}
