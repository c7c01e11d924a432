//! Handlers that are broken in one way each, and the line of the report that says so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};
use tonic::Status;

use super::{Checked, check, interrupted, well};
use crate::support::handler::{
    TestHandler, free_address,
    proto::{ActionError, Decision, Disconnect, HandleActionResponse, SessionUpdate, Topic},
    reply,
};

/// As the check calls an action that nobody has.
const UNKNOWN: &str = "MyxiCheckNoSuchAction";

/// Of a handler that is as `well::good` but for something.
async fn checked(app: &TestHandler, more: &[&str]) -> Checked {
    let flags = well::valid(app);
    let flags: Vec<_> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    check(&flags).await
}

async fn answering(reply: HandleActionResponse) -> TestHandler {
    let app = well::good().await;
    app.on("Echo", move |_| Ok(reply.clone()));
    app
}

#[tokio::test]
async fn nobody_listens() {
    let handler = format!("--action-handler=http://{}", free_address());
    let checked = check(&[&handler, "--wait=0s"]).await;
    checked.failed("reachable", "refused");
    assert_eq!(checked.of("failed"), ["reachable"]);
    assert!(
        checked.found("reachable")["client_sees"].as_str().expect("text").contains("retryable")
    );
}

#[tokio::test]
async fn it_speaks_another_protocol() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let server = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 64]).await;
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let checked = check(&[&format!("--action-handler=http://{address}")]).await;
    checked.failed("reachable", "web port");
    server.abort();
}

#[tokio::test]
async fn it_has_no_check_subscriptions() {
    let app = well::good().await;
    app.on_probe(|_| Err(Status::unimplemented("")));
    app.on_check(|_| Err(Status::unimplemented("")));
    let checked = checked(&app, &[]).await;
    checked.failed("gateways-own-question", "UNIMPLEMENTED");
    checked.is("not_checked", "subscriptions", "UNIMPLEMENTED");
}

/// Some languages have no session where it is all but empty.
#[tokio::test]
async fn it_dies_of_the_gateways_own_question() {
    let app = Arc::new(well::good().await);
    let dying = Arc::downgrade(&app);
    app.on_probe_async(move |_| {
        let dying = dying.clone();
        std::thread::spawn(move || dying.upgrade().map(|app| app.kill()));
        std::future::pending()
    });
    let checked = checked(&app, &[]).await;
    checked.failed("gateways-own-question", "lost");
}

#[tokio::test]
async fn it_wants_another_token() {
    let (_app, port) = crate::support::runtime::Runtime::Python.start(&["token=t"]).await;
    let handler = format!("--action-handler=http://127.0.0.1:{port}");
    let checked = check(&[&handler, "--action-handler-token=u"]).await;
    checked.failed("gateways-own-question", "UNAUTHENTICATED");
    checked.is("not_checked", "everything-else", "");
}

#[tokio::test]
async fn it_answers_whoever_has_no_token() {
    let app = well::good().await;
    let checked = checked(&app, &["--action-handler-token=t"]).await;
    checked.failed("wrong-token", "CheckSubscriptions: OK");
    checked.failed("no-token", "CheckSubscriptions: OK");
    assert_eq!(checked.of("failed"), ["wrong-token", "no-token"]);
}

/// It asks its database for the topics, which has each of them once.
#[tokio::test]
async fn it_answers_one_decision_for_topics_that_are_alike() {
    let app = well::good().await;
    app.on_check(|request| {
        let mut once = request.clone();
        let mut seen = std::collections::HashSet::new();
        once.topics
            .retain(|topic| seen.insert((topic.exchange.clone(), topic.routing_key.clone())));
        Ok(well::decide(&once))
    });
    let checked = checked(&app, &[]).await;
    checked.failed("batch", "decisions for 10 topics");
    assert_eq!(checked.of("failed"), ["batch"]);
    assert!(
        checked.found("batch")["client_sees"].as_str().expect("text").contains("InternalError")
    );
}

#[tokio::test]
async fn it_answers_decisions_in_an_order_of_its_own() {
    let app = well::good().await;
    app.on_check(|request| {
        let mut sorted = request.clone();
        sorted.topics.sort_by(|a, b| a.routing_key.cmp(&b.routing_key));
        Ok(well::decide(&sorted))
    });
    let checked = checked(&app, &[]).await;
    checked.failed("batch", "alone it is");
    assert_eq!(checked.of("failed"), ["batch"]);
}

#[tokio::test]
async fn it_answers_decisions_from_behind() {
    let app = well::good().await;
    app.on_check(|request| {
        let mut decided = well::decide(&request);
        decided.decisions.reverse();
        Ok(decided)
    });
    // Also where there is nothing but one topic that is allowed.
    let handler = format!("--action-handler={}", app.endpoint());
    let flags = [&*handler, r#"--auth={"user":"adam"}"#, "--allow=rooms:lobby"];
    for checked in [checked(&app, &[]).await, check(&flags).await] {
        checked.failed("batch", "alone it is");
    }
}

#[tokio::test]
async fn it_does_for_nobody_what_is_somebodys() {
    let app = well::good().await;
    app.on("Echo", |request| Ok(reply::events([("Echoed", request.payload.as_str())])));
    let checked = checked(&app, &[]).await;
    checked.warned("without-auth", "OK");
    assert_eq!((checked.code, checked.of("warning")), (Some(0), vec!["without-auth"]));
    // Who closes does nothing.
    let refuse = Disconnect { code: 4501, reason: "log in".into() };
    let app = answering(HandleActionResponse { disconnect: Some(refuse), ..Default::default() });
    self::checked(&app.await, &[]).await.is("ok", "without-auth", "");
}

#[tokio::test]
async fn it_looks_at_the_token_in_what_is_asked_often_alone() {
    let refusing = async || {
        let app = well::good().await;
        app.on(UNKNOWN, |_| Err(Status::unauthenticated("another token")));
        // Behind the longest question it is asked with a wrong token, and without one.
        let strangers = Arc::new(AtomicUsize::new(0));
        let coming = strangers.clone();
        app.on_check(move |request| {
            if request.topics.len() == 1_000 {
                coming.store(2, Ordering::SeqCst);
            }
            Ok(well::decide(&request))
        });
        app.on_probe(move |_| match strangers.load(Ordering::SeqCst) {
            0 => Ok(reply::decisions([])),
            left => {
                strangers.store(left - 1, Ordering::SeqCst);
                Err(Status::unauthenticated("another token"))
            }
        });
        app
    };
    let often = checked(&refusing().await, &["--action-handler-token=t"]).await;
    for name in ["wrong-token", "no-token"] {
        often.is("ok", name, "");
    }
    let full = checked(&refusing().await, &["--action-handler-token=t", "--full"]).await;
    full.failed("wrong-token", "SessionClosed: OK");
    full.failed("no-token", "SessionClosed: OK");
}

/// The two RPCs are different people's work.
#[tokio::test]
async fn it_looks_at_the_token_in_actions_alone() {
    let app = well::good().await;
    app.on(UNKNOWN, |_| Err(Status::permission_denied("another token")));
    let checked = checked(&app, &["--action-handler-token=t"]).await;
    checked.failed("wrong-token", "CheckSubscriptions: OK");
}

#[tokio::test]
async fn it_allows_everything() {
    let app = TestHandler::start().await;
    let handler = format!("--action-handler={}", app.endpoint());
    let checked = check(&[&handler, "--deny=rooms:staff"]).await;
    checked.failed("deny rooms:staff", "Allow");
    checked.warned("unknown-exchange", "Allow");
    let blind = check(&[&handler]).await;
    assert_eq!(blind.code, Some(0), "{}", blind.text);
    blind.warned("unknown-exchange", "Allow");
    blind.warned("subscribe-without-auth", "Allow");
}

#[tokio::test]
async fn it_allows_strangers_what_is_somebodys() {
    let app = well::good().await;
    app.on_check(|request| {
        Ok(reply::decisions(request.topics.iter().map(|topic| match topic.routing_key.as_str() {
            "lobby" => Decision::Allow,
            _ => Decision::Deny,
        })))
    });
    let checked = checked(&app, &[]).await;
    checked.warned("subscribe-without-auth", "Allow");
    assert_eq!(checked.code, Some(0));
}

#[tokio::test]
async fn it_denies_what_is_allowed_or_says_nothing_of_it() {
    let app = well::good().await;
    app.on_check(|request| Ok(reply::deny_all(&request)));
    checked(&app, &[]).await.failed("allow rooms:lobby", "Deny");
    app.on_check(|request| {
        Ok(reply::decisions(request.topics.iter().map(|_| Decision::Unspecified)))
    });
    let checked = checked(&app, &[]).await;
    checked.failed("allow rooms:lobby", "DECISION_UNSPECIFIED");
    checked.warned("deny rooms:staff", "DECISION_UNSPECIFIED");
}

#[tokio::test]
async fn it_fails_where_the_answer_is_no() {
    let app = well::good().await;
    app.on_check(|request| match request.topics[0].routing_key.as_str() {
        "staff" => Err(Status::permission_denied("staff only")),
        _ => Ok(well::decide(&request)),
    });
    checked(&app, &[]).await.failed("deny rooms:staff", "staff only");
}

#[tokio::test]
async fn it_raises_an_exception_for_an_action_that_it_does_not_know() {
    let app = well::good().await;
    app.on(UNKNOWN, |_| Err(Status::unknown("KeyError")));
    let checked = checked(&app, &[]).await;
    checked.warned("unknown-action", "UNKNOWN: KeyError");
    assert_eq!((checked.code, checked.of("warning").len()), (Some(0), 1), "{}", checked.text);
    let client = checked.found("unknown-action")["client_sees"].as_str().expect("text");
    assert!(client.contains("InternalError") && client.contains("unknown"), "{client}");
}

#[tokio::test]
async fn it_says_that_it_did_what_it_does_not_know() {
    let app = well::good().await;
    app.on(UNKNOWN, |_| Ok(HandleActionResponse::default()));
    checked(&app, &[]).await.warned("unknown-action", "OK");
}

#[tokio::test]
async fn it_refuses_what_is_valid() {
    let app = well::good().await;
    app.on("Echo", |_| Err(Status::unauthenticated("who are you?")));
    checked(&app, &[]).await.failed("action Echo", "refused, though --action says");
}

#[tokio::test]
async fn it_takes_a_payload_for_granted() {
    let app = well::good().await;
    app.on("Echo", |request| match request.payload.as_str() {
        "{}" => Err(Status::unknown("KeyError: text")),
        payload => Ok(reply::events([("Echoed", payload)])),
    });
    checked(&app, &[]).await.warned("missing-payload Echo", "KeyError: text");
}

#[tokio::test]
async fn it_takes_small_messages_only() {
    let app = well::good().await;
    app.on("Echo", |request| match request.payload.len() {
        0..4096 => Ok(reply::events([("Echoed", request.payload.as_str())])),
        _ => Err(Status::resource_exhausted("larger than max (61440 vs. 4096)")),
    });
    checked(&app, &[]).await.failed("large-payload Echo", "RESOURCE_EXHAUSTED");
}

#[tokio::test]
async fn it_knows_few_characters() {
    for broken in [
        |text: &str| text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect::<String>(),
        |text: &str| text.replace("\\u0000", ""),
        |text: &str| text.replace("e\u{301}", "é"),
    ] {
        let app = well::good().await;
        app.on("Echo", move |request| Ok(reply::events([("Echoed", &*broken(&request.payload))])));
        let checked = checked(&app, &[]).await;
        checked.failed("unicode Echo", "the text came back as");
        assert_eq!(checked.of("failed"), ["unicode Echo"], "{}", checked.text);
    }
}

#[tokio::test]
async fn its_answers_break_a_rule() {
    let update =
        |update| HandleActionResponse { session_update: Some(update), ..Default::default() };
    let subscribe = |exchange: &str, key: &str| HandleActionResponse {
        subscribe: vec![Topic { exchange: exchange.into(), routing_key: key.into() }],
        ..Default::default()
    };
    let error = |code: &str, details: &str| HandleActionResponse {
        error: Some(ActionError { code: code.into(), details: details.into(), retryable: false }),
        ..Default::default()
    };
    let too_much = format!("\"{}\"", "x".repeat(17 << 10));
    let too_large = format!("\"{}\"", "x".repeat(300 << 10));
    let far_too_large = format!("\"{}\"", "x".repeat(600 << 10));
    for (answer, rule) in [
        (reply::events([("Echoed", "{oops")]), "events[0]: payload is not JSON"),
        (reply::events([("", "{}")]), "events[0]: event must be a name of 1 to 255 bytes"),
        (reply::events([("Echoed", &*too_large)]), "262144 is the most"),
        (reply::events([("Echoed", &*far_too_large)]), "the reply is larger than 524288 bytes"),
        (reply::events([("Echoed", &*too_large); 1]), "an event of 307202 bytes"),
        (reply::set_auth("adam"), "session_update.set_auth is not JSON"),
        (reply::set_auth(&too_much), "16384 is the most"),
        (
            update(SessionUpdate {
                set_auth: Some("1".into()),
                clear_auth: true,
                ..Default::default()
            }),
            "both sets and clears auth",
        ),
        (error("", ""), "error.code is empty"),
        (error("No", "[]"), "error.details is not a JSON object"),
        (subscribe("no room", "lobby"), "exchange must be 1 to 127 characters"),
        (subscribe("rooms", "\u{7}"), "routing_key must be"),
    ] {
        let app = answering(answer).await;
        checked(&app, &[]).await.failed("action Echo", rule);
    }
    let app = answering(subscribe("unlisted", "lobby")).await;
    checked(&app, &["--exchange=rooms"]).await.failed("action Echo", "--exchange does not name it");
}

#[tokio::test]
async fn its_answers_count_otherwise_than_they_are_written() {
    let app = answering(HandleActionResponse {
        disconnect: Some(Disconnect { code: 3000, reason: String::new() }),
        ..Default::default()
    })
    .await;
    let checked_with = checked(&app, &[]).await;
    checked_with.warned("action Echo", "disconnect.code is 3000");
    assert!(checked_with.text.contains("a close with 4500"), "{}", checked_with.text);
    let app = answering(reply::events([("Subscribed", "{}")])).await;
    checked(&app, &[]).await.warned("action Echo", "events[0] is named \"Subscribed\"");
    let app = well::good().await;
    app.on(UNKNOWN, |_| Ok(reply::error("NoSuchAction", r#"{"retryable":true}"#, false)));
    checked(&app, &[]).await.warned("unknown-action", "\"retryable\", which the gateway says");
}

#[tokio::test]
async fn it_hangs_after_calls_that_were_given_up() {
    let app = well::good().await;
    let held = Arc::new(AtomicBool::new(false));
    app.on_async(UNKNOWN, move |_| {
        let held = held.clone();
        async move {
            if held.swap(true, Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(20)).await;
            held.store(false, Ordering::SeqCst);
            Err(Status::unimplemented(""))
        }
    });
    checked(&app, &["--action-timeout=1s"]).await.failed("cancelled-calls", "timeout");
}

#[tokio::test]
async fn it_dies_of_a_hundred_at_once() {
    let app = Arc::new(well::good().await);
    let (dying, at_once) = (Arc::downgrade(&app), Arc::new(AtomicUsize::new(0)));
    app.on_async(UNKNOWN, move |_| {
        let (dying, at_once) = (dying.clone(), at_once.clone());
        async move {
            if at_once.fetch_add(1, Ordering::SeqCst) > 20 {
                std::thread::spawn(move || dying.upgrade().map(|app| app.kill()));
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            at_once.fetch_sub(1, Ordering::SeqCst);
            Err(Status::unimplemented(""))
        }
    });
    let checked = checked(&app, &["--full"]).await;
    checked.failed("hundred-at-once", "were lost");
    assert_eq!(checked.of("failed"), ["hundred-at-once"], "{}", checked.text);
}

/// As one whose decisions wait for a single connection to its database.
#[tokio::test]
async fn it_decides_few_at_once() {
    let app = well::good().await;
    let at_once = Arc::new(AtomicUsize::new(0));
    app.on_check_async(move |request| {
        let at_once = at_once.clone();
        async move {
            if at_once.fetch_add(1, Ordering::SeqCst) > 20 {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            at_once.fetch_sub(1, Ordering::SeqCst);
            Ok(well::decide(&request))
        }
    });
    let checked = checked(&app, &["--full"]).await;
    checked.failed("hundred-at-once", "were lost");
    assert_eq!(checked.of("failed"), ["hundred-at-once"], "{}", checked.text);
}

#[tokio::test]
async fn it_turns_many_away() {
    let app = well::good().await;
    let calls = AtomicUsize::new(0);
    // Of the hundred some; not of the few before them.
    app.on(UNKNOWN, move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        60.. => Err(Status::resource_exhausted("too many")),
        _ => Err(Status::unimplemented("")),
    });
    let checked = checked(&app, &["--full"]).await;
    checked.warned("hundred-at-once", "with no");
    assert_eq!(checked.code, Some(0));
}

#[tokio::test]
async fn it_is_nearly_too_slow() {
    let app = well::good().await;
    app.on_async("Echo", |_| async {
        sleep(Duration::from_millis(3_500)).await;
        Err(Status::unimplemented(""))
    });
    let slow = checked(&app, &["--action-timeout=6s"]).await;
    slow.warned("speed", "the action");
    app.hang_on("Echo");
    let hanging = checked(&app, &["--action-timeout=500ms"]).await;
    hanging.failed("action Echo", "timeout");
    hanging.warned("speed", "had no answer");
    let client = hanging.found("action Echo")["client_sees"].as_str().expect("text");
    assert!(client.contains("ActionTimeout"), "{client}");
}

#[tokio::test]
async fn it_never_answers_and_whoever_waits_has_enough() {
    let app = well::good().await;
    app.hang_on("Echo");
    let flags = well::valid(&app);
    let flags =
        flags.iter().map(String::as_str).chain(["--action-timeout=1h", "--broker=amqp://none"]);
    let hangs = async { while app.next("HandleAction").await.action().action != "Echo" {} };
    let checked = interrupted(&flags.collect::<Vec<_>>(), hangs).await;
    assert_eq!(checked.code, Some(1), "{}", checked.text);
    checked.is("ok", "reachable", "");
    checked.failed("interrupted", "a signal came");
}

#[tokio::test]
async fn it_freezes_and_is_not_waited_for_with_every_call() {
    let app = well::good().await;
    let freezing = async {
        app.next("HandleAction").await;
        app.freeze()
    };
    let flags = ["--full", "--action-timeout=1s"];
    let (checked, _frozen) = tokio::join!(checked(&app, &flags), freezing);
    assert_eq!(checked.code, Some(1), "{}", checked.text);
    checked.is("not_checked", "everything-else", "it answers nothing any more");
    assert!(!checked.text.contains("hundred-at-once"), "{}", checked.text);
}

#[tokio::test]
async fn it_lets_nobody_in() {
    let app = well::good().await;
    app.on_opened(|_| Err(Status::unimplemented("")));
    app.on_closed(|_| Err(Status::unimplemented("")));
    let off = checked(&app, &["--full"]).await;
    off.is("ok", "session-opened", "right as long as --session-opened is off");
    off.is("ok", "session-closed", "once a minute");
    let required = checked(&app, &["--full", "--session-opened=required"]).await;
    required.failed("session-opened", "UNIMPLEMENTED");
    app.on_opened(|_| Ok(Default::default()));
    checked(&app, &["--full"]).await.warned("session-opened", "counts as a refusal");
}
