//! The demo's page in a real browser: what somebody sees who presses its buttons.

use std::net::SocketAddr;

use crate::{
    demo,
    support::{browser::Page, process::Myxi},
};

/// The demo and its page, open.
async fn open() -> (Myxi, SocketAddr, Page) {
    let demo = demo::start(&[]).await;
    let address = demo::page(&demo);
    let page = Page::open(&format!("http://{address}/")).await;
    (demo, address, page)
}

/// The newest frame, or note, of the log that holds all of these.
fn logged(kind: &str, words: &[&str]) -> String {
    format!(
        "[...document.querySelectorAll('#log .{kind}')].map((line) => line.textContent)
            .find((line) => {words:?}.every((word) => line.includes(word)))"
    )
}

fn state_is(name: &str) -> String {
    format!("document.querySelector('#state').textContent === {name:?}")
}

#[tokio::test]
async fn show_me_shows_three_widgets_that_change_and_asks_nobody_else() {
    let (demo, address, mut page) = open().await;
    page.click("#all").await;
    page.until(&state_is("open")).await;
    let widgets = "[...document.querySelectorAll('.widget')].map((card) => card.innerText)";
    page.until(&format!("{widgets}.length === 3")).await;
    let names = page.evaluate(&format!("{widgets}.map((text) => text.slice(0, 8)).join()")).await;
    assert_eq!(names, "widget 1,widget 2,widget 3");

    page.until(
        "[...document.querySelectorAll('.widget b')].some((b, i) => {
            const before = (window.quantities ??= [])[i];
            if (/^\\d+$/.test(b.textContent)) window.quantities[i] = b.textContent;
            return before !== window.quantities[i] && before !== undefined;
        })",
    )
    .await;
    page.until(&logged("in", &["WidgetQtyChanged", r#""mq":"#])).await;

    let own = [format!("http://{address}/"), format!("ws://{}/pushwss", demo.clients)];
    let elsewhere = |url: &&str| !own.iter().any(|own| own == url) && !url.starts_with("data:");
    let requested = page.requested();
    assert!(own.iter().all(|own| requested.contains(&own.as_str())), "{requested:?}");
    assert_eq!(requested.iter().copied().find(elsewhere), None);
    assert!(page.exceptions().is_empty(), "{:#?}", page.exceptions());
}

#[tokio::test]
async fn step_by_step_each_answer_is_seen_and_a_closed_connection_is_opened_again() {
    let (demo, _, mut page) = open().await;
    page.until(&state_is("closed")).await;
    assert_eq!(page.evaluate("document.querySelectorAll('fieldset:disabled').length").await, 3);
    page.click("#connect button").await;
    page.until(&state_is("open")).await;
    page.until(&logged("in", &["Welcome", "ping_interval_ms"])).await;

    // Whoever did not authenticate may subscribe to nothing.
    page.fill("#subscribe [name=keys]", "1").await;
    page.click("#subscribe button").await;
    page.until(&logged("bad", &["SubscriptionDenied", r#""routing_key":"1""#])).await;
    page.fill("#authenticate [name=token]", "wrong").await;
    page.click("#authenticate button").await;
    page.until(&logged("bad", &["InvalidToken", "demo-token"])).await;
    page.fill("#authenticate [name=token]", "demo-token").await;
    page.click("#authenticate button").await;
    page.until(&logged("in", &[r#""Authenticated""#, "adam"])).await;

    page.fill("#subscribe [name=keys]", "2, 13").await;
    page.click("#subscribe button").await;
    page.until(&logged("bad", &["SubscriptionDenied", r#""routing_key":"13""#])).await;
    page.until("document.querySelectorAll('.widget').length === 1").await;
    page.fill("#subscribe [name=keys]", "2").await;
    page.click("#subscribe [name=end]").await;
    page.until("document.querySelectorAll('.widget').length === 0").await;

    page.click("#action button").await;
    page.until(&logged("in", &["Hello, Adam!"])).await;
    page.fill("#action [name=payload]", "{").await;
    page.click("#action button").await;
    page.until(&logged("note", &["the payload is not JSON"])).await;

    page.click("#disconnect").await;
    page.until(&state_is("closed")).await;
    page.until(&logged("note", &["closed with 1000"])).await;
    page.click("#connect button").await;
    page.until(&state_is("open")).await;

    drop(demo);
    page.until(&state_is("closed")).await;
    page.until(&logged("note", &["closed with 1006"])).await;
    page.click("#all").await;
    page.until(&logged("note", &["is the demo still running?"])).await;
    assert!(page.exceptions().is_empty(), "{:#?}", page.exceptions());
}
