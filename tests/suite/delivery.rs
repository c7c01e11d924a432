//! The promises about order, delivery and clients that do not read, kept under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    net::TcpSocket,
    sync::{Semaphore, watch},
};
use tokio_tungstenite::{client_async, tungstenite::Message};
use tonic::Code;

use crate::support::{
    DEADLINE,
    client::Client,
    gateway::Gateway,
    handler::{
        TestHandler,
        proto::{PushEventRequest, PushEventsRequest, SendEventRequest},
        reply,
    },
    within,
};

/// Sessions on the main runtime, or spread over threads of their own as well.
const ONE_WORKER: &str = "--worker-threads=1";
const SEVERAL_WORKERS: &str = "--worker-threads=3";

fn push(routing_key: &str, payload: String) -> PushEventRequest {
    PushEventRequest {
        exchange: "widgets".into(),
        routing_key: routing_key.into(),
        event: "Counted".into(),
        payload,
        event_id: None,
    }
}

#[tokio::test]
async fn actions_of_one_session_are_handled_one_after_another() {
    const ACTIONS: u64 = 200;
    let app = TestHandler::start().await;
    let running = Arc::new(AtomicUsize::new(0));
    app.on_async("Count", move |request| {
        let running = running.clone();
        async move {
            let others = running.fetch_add(1, Ordering::SeqCst);
            // Later ones would be quicker, were they let in.
            let number: u64 = request.payload.parse().expect("a number");
            tokio::time::sleep(Duration::from_micros((ACTIONS - number) * 10)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(reply::events([("Counted", others.to_string().as_str())]))
        }
    });
    let gateway = Gateway::start(&app).await;
    let mut client = gateway.client().await;
    for n in 0..ACTIONS {
        client.send(json!({"action": "Count", "tag": n, "payload": n})).await;
        client.send(json!({"action": "Ping", "tag": format!("after {n}")})).await;
    }
    for n in 0..ACTIONS {
        let counted = client.next().await;
        assert_eq!((&counted["tag"], &counted["payload"]), (&json!(n), &json!(0)), "{counted}");
        // Built-in actions keep their place as well.
        assert_eq!(client.next().await["tag"], format!("after {n}"));
        assert_eq!(app.next("HandleAction").await.action().payload, n.to_string());
    }
}

#[tokio::test]
async fn after_a_timeout_the_next_action_starts() {
    let app = TestHandler::start().await;
    app.hang_on("Slow").on("Fast", |_| Ok(reply::events([("Fast", "")])));
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--action-timeout=6s"]).await;
    let mut client = gateway.client().await;
    client.send(json!({"action": "Slow", "tag": 1})).await;
    client.send(json!({"action": "Fast", "tag": 2})).await;
    let timeout = client.next().await;
    assert_eq!(
        (&timeout["tag"], &timeout["payload"]["error"]),
        (&json!(1), &json!("ActionTimeout"))
    );
    let fast = client.next().await;
    assert_eq!((&fast["tag"], &fast["event"]), (&json!(2), &json!("Fast")));
}

#[tokio::test]
async fn sessions_do_not_wait_for_each_other() {
    let app = TestHandler::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let gated = gate.clone();
    app.on_async("Slow", move |_| {
        let gate = gated.clone();
        async move {
            gate.acquire().await.expect("open").forget();
            Ok(reply::events([]))
        }
    });
    app.on("Fast", |_| Ok(reply::events([])));
    let gateway = Gateway::start(&app).await;
    let mut slow = gateway.client().await;
    slow.subscribe("widgets", "k").await;
    slow.send(json!({"action": "Slow", "tag": "slow"})).await;
    app.next("HandleAction").await;
    let mut other = gateway.client().await;
    assert_eq!(other.request("Fast", json!({})).await["event"], "Done");
    other.subscribe("widgets", "k").await;
    // Nor do events wait for the session's own action.
    gateway.push("widgets", "k", "Pushed", json!({})).await;
    assert_eq!(slow.next().await["event"], "Pushed");
    gate.add_permits(1);
    assert_eq!(slow.next().await["tag"], "slow");
}

#[tokio::test]
async fn subscribed_precedes_its_events_and_none_is_missed_or_late() {
    subscribed_precedes(ONE_WORKER).await;
}

#[tokio::test]
async fn subscribed_precedes_its_events_and_none_is_missed_or_late_on_several_threads() {
    subscribed_precedes(SEVERAL_WORKERS).await;
}

async fn subscribed_precedes(workers: &str) {
    const ROUNDS: usize = 40;
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", workers]).await;
    let (stop, stopped) = watch::channel(false);
    let mut api = gateway.api().await;
    let pusher = tokio::spawn(async move {
        let mut next = 0u64;
        while !*stopped.borrow() {
            let events = (next..next + 5).map(|n| push("k", n.to_string())).collect();
            api.push_events(PushEventsRequest { events }).await.expect("pushed");
            next += 5;
        }
    });
    let mut client = gateway.client().await;
    let payload = json!({"exchange": "widgets", "routing_key": "k"});
    for round in 0..ROUNDS {
        client.send(json!({"action": "Subscribe", "tag": round, "payload": payload})).await;
        let first = client.next().await;
        assert_eq!(first["event"], "Subscribed", "round {round}: {first}");
        // Pushed after Subscribed was sent, so it must come.
        let marker = format!("marker {round}");
        gateway.push("widgets", "k", "Marker", json!(marker)).await;
        client.send(json!({"action": "Unsubscribe", "tag": round, "payload": payload})).await;
        let (mut last, mut marked) = (None, 0);
        loop {
            let message = client.next().await;
            match message["event"].as_str().expect("a name") {
                "Counted" => {
                    let number = message["payload"].as_u64().expect("a number");
                    let follows = last.is_none_or(|last| number == last + 1);
                    assert!(follows, "round {round}: {number} after {last:?}");
                    last = Some(number);
                }
                "Marker" => {
                    assert_eq!(message["payload"], marker);
                    marked += 1;
                }
                "Unsubscribed" => break,
                other => panic!("{other}"),
            }
        }
        assert_eq!(marked, 1, "round {round}");
        // Nothing between Unsubscribed and the next Subscribed.
        assert!(client.quiet().await, "round {round}");
    }
    stop.send_replace(true);
    pusher.await.expect("the pusher");
}

#[tokio::test]
async fn events_of_a_key_keep_their_order_and_come_once() {
    events_of_a_key(ONE_WORKER).await;
}

#[tokio::test]
async fn events_of_a_key_keep_their_order_and_come_once_on_several_threads() {
    events_of_a_key(SEVERAL_WORKERS).await;
}

async fn events_of_a_key(workers: &str) {
    const KEYS: usize = 4;
    const EVENTS: usize = 250;
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", workers]).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = gateway.client().await;
        for key in 0..KEYS {
            client.subscribe("widgets", &key.to_string()).await;
        }
        clients.push(client);
    }
    let mut pushers = tokio::task::JoinSet::new();
    for key in 0..KEYS {
        let mut api = gateway.api().await;
        pushers.spawn(async move {
            let mut next = 0;
            while next < EVENTS {
                // One by one and many at once.
                let many = if next % 20 == 0 { 10 } else { 1 };
                let events = (next..next + many)
                    .map(|n| push(&key.to_string(), n.to_string()))
                    .collect::<Vec<_>>();
                next += many;
                if many == 1 {
                    let event = events.into_iter().next().expect("one");
                    api.push_event(event).await.expect("pushed");
                    continue;
                }
                let results = api.push_events(PushEventsRequest { events }).await.expect("pushed");
                assert!(results.into_inner().results.iter().all(|result| result.code == 0));
            }
        });
    }
    for client in &mut clients {
        let mut next = [0; KEYS];
        while next != [EVENTS; KEYS] {
            let message = client.next().await;
            let key: usize = message["mq"]["rk"].as_str().expect("a key").parse().expect("ours");
            assert_eq!(message["payload"], next[key], "{message}");
            next[key] += 1;
        }
        assert!(client.quiet().await);
    }
    pushers.join_all().await;
}

/// A client whose kernel takes as little as it can, and who does not read.
pub async fn stopped_reader(gateway: &Gateway) -> Client {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(gateway.clients()).await.expect("a connection");
    let url = format!("ws://{}/", gateway.clients());
    let (socket, _) = client_async(url, stream).await.expect("a WebSocket");
    let mut client = Client::over(socket);
    let welcome = client.event("Welcome").await;
    client.id = welcome["payload"]["id"].as_str().expect("an id").to_owned();
    client
}

/// The code that the application is told for this session.
pub async fn told_code(app: &TestHandler, id: &str) -> u32 {
    loop {
        let call = app.next("SessionClosed").await;
        if call.closed().session.as_ref().expect("a session").id == id {
            return call.closed().code;
        }
    }
}

#[tokio::test]
async fn a_stopped_reader_is_cut_off_and_fifty_others_get_everything_in_order() {
    stopped_beside_fifty(ONE_WORKER).await;
}

#[tokio::test]
async fn a_stopped_reader_is_cut_off_and_fifty_others_get_everything_in_order_on_several_threads() {
    stopped_beside_fifty(SEVERAL_WORKERS).await;
}

/// The close frame waits 5 s for being read, which a machine that has other things to do may miss.
async fn stopped_beside_fifty(workers: &str) {
    for _ in 0..3 {
        if let Some(code) = once_stopped_beside_fifty(workers).await {
            return assert_eq!(code, 3008);
        }
    }
    panic!("no close frame was seen");
}

async fn once_stopped_beside_fifty(workers: &str) -> Option<u16> {
    const READERS: usize = 50;
    const EVENTS: usize = 300;
    const FLOOD: usize = 96 << 10;
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", workers]).await;
    let mut stopped = stopped_reader(&gateway).await;
    stopped.subscribe("widgets", "shared").await;
    // Its own flood, so that it falls far behind on what it shares with the others.
    stopped.subscribe("widgets", "flood").await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        let mut reader = gateway.client().await;
        reader.subscribe("widgets", "shared").await;
        readers.spawn(async move {
            for n in 0..EVENTS {
                assert_eq!(reader.next().await["payload"], n);
            }
            assert!(reader.quiet().await);
        });
    }
    let mut api = gateway.api().await;
    let blob = format!("\"{}\"", "x".repeat(FLOOD));
    let serving_all_that_read = async {
        for n in (0..EVENTS).step_by(5) {
            let mut events: Vec<_> = (n..n + 5).map(|n| push("shared", n.to_string())).collect();
            events.push(push("flood", blob.clone()));
            api.push_events(PushEventsRequest { events }).await.expect("pushed");
        }
        while let Some(read) = readers.join_next().await {
            read.expect("a reader that got everything");
        }
    };
    let (mut next, mut flood) = (0, 0);
    let reading_once_cut_off = async {
        while gateway.send_event(&stopped.id, "There?").await != Code::NotFound {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        loop {
            let Some(Ok(message)) = stopped.message().await else { return None };
            match message {
                Message::Text(text) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    if message["mq"]["rk"] == "flood" {
                        flood += 1;
                    } else if message["event"] != "There?" {
                        assert_eq!(message["payload"], next, "no hole in what it got");
                        next += 1;
                    }
                }
                Message::Close(frame) => return Some(frame.expect("a code").code.into()),
                _ => {}
            }
        }
    };
    let both = async { tokio::join!(serving_all_that_read, reading_once_cut_off) };
    let ((), code) = within(DEADLINE, "all that read, and the one that does not", both).await;
    // What the kernel held; the outbox was dropped, and nothing was kept after it.
    assert!(next < EVENTS && flood < EVENTS / 5, "{next} events and {flood} of the flood");
    // The answer goes out with the next read.
    assert!(!matches!(stopped.message().await, Some(Ok(_))), "something after the close");
    assert_eq!(told_code(&app, &stopped.id).await, 3008);
    code
}

#[tokio::test]
async fn a_stopped_reader_that_never_reads_again_is_let_go_of() {
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--max-outbox=64KiB"]).await;
    let mut stopped = stopped_reader(&gateway).await;
    stopped.subscribe("widgets", "flood").await;
    let mut api = gateway.api().await;
    let blob = format!("\"{}\"", "x".repeat(15 << 10));
    for _ in 0..5 {
        let events = (0..100).map(|_| push("flood", blob.clone())).collect();
        api.push_events(PushEventsRequest { events }).await.expect("pushed");
    }
    // Also though the close frame could not be sent.
    assert_eq!(told_code(&app, &stopped.id).await, 3008);
}

#[tokio::test]
async fn the_system_does_not_hold_much_more_than_an_outbox_for_a_stopped_reader() {
    const EVENT: usize = 15 << 10;
    const HELD_MAX: usize = 1 << 20;
    let app = TestHandler::start().await;
    let gateway = Gateway::with(&app, &["--exchange=widgets", "--max-outbox=64KiB"]).await;
    let stopped = stopped_reader(&gateway).await;
    let mut api = gateway.api().await;
    let mut taken = 0;
    let cut_off = loop {
        let request = SendEventRequest {
            session_id: stopped.id.clone(),
            event: "E".into(),
            payload: format!("\"{}\"", "x".repeat(EVENT)),
        };
        match api.send_event(request).await {
            Ok(_) => taken += EVENT,
            Err(status) => break status,
        }
    };
    assert_eq!(cut_off.code(), Code::NotFound, "{cut_off}");
    assert!(taken < HELD_MAX, "{taken} bytes were taken for a client that does not read");
}
