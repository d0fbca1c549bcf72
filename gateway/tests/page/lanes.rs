//! The lanes on the page: their load, the banners, and the buttons that pause and resume them.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::desk::{Desk, Member, add_client};
use crate::support::{self, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_loads_without_complaints_and_asks_only_the_gateway() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&desk.page()).await;
    browser.until_text("link", "live").await;
    browser.until_text("health", "ok").await;
    let lanes = browser.value("all('lane').map((lane) => lane.dataset.lane)").await;
    assert_eq!(lanes, json!(["transactional", "quote", "historical"]));
    let requests = browser.requests().await;
    let own = desk.page();
    assert!(requests.len() > 10, "{requests:?}");
    assert!(requests.keys().all(|url| url.starts_with(&own)), "{requests:?}");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_shows_its_load_while_a_crowd_runs() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&desk.page()).await;
    let crowd = desk.crowd([
        Member::reader("alpha", 6, &["/user/margins"]),
        Member::reader("beta", 6, &["/orders"]),
        Member::trader("gamma", 2),
    ]);
    browser
        .until("its calls a second are near its quota", "+find('lane-rate').innerText > 7")
        .await;
    browser
        .until("its window fills", "+find('meter').querySelector('[role=meter]').ariaValueNow > 5")
        .await;
    browser.until_text("lane", "alpha").await;
    browser.until("both readers are listed", "['alpha', 'beta', 'gamma'].every((name) => all('client').some((row) => row.dataset.client === name))").await;
    browser
        .until("orders are counted", "+find('orders-placed').querySelector('dd').innerText > 2")
        .await;
    browser.until_text("budgets", "/ 5,000").await;
    drop(crowd);
    browser.until("the rate falls to none", "+find('lane-rate').innerText === 0").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banner_says_why_calls_wait_and_goes_when_they_do_not() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&desk.page()).await;
    assert_eq!(browser.value("isVisible(find('banner'))").await, false);
    let crowd = desk.crowd([Member::reader("alpha", 30, &["/user/margins"])]);
    let banner = browser.until_text("banner-item", "transactional is at its limit").await;
    assert!(banner.contains("a new call would wait about"), "{banner}");
    browser.until_text("health", "limited").await;
    browser.until("the lane says so too", "find('lane-state').innerText === 'calls wait'").await;
    drop(crowd);
    browser.until("the banner goes", "!isVisible(find('banner'))").await;
    browser.until_text("health", "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banner_says_that_the_broker_asked_for_a_pause() {
    let Some(browser) = Browser::start().await else { return };
    let upstream = Upstream::start(|_| {
        let body =
            br#"{"status":"error","message":"Too many requests","error_type":"NetworkException"}"#;
        let length = body.len();
        let head = format!(
            "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 4\r\n\
             content-length: {length}\r\n\r\n"
        );
        Some([head.as_bytes(), body].concat())
    });
    let gateway = support::start(support::kite(&upstream.url()));
    browser.open(&gateway.page_url()).await;
    support::Client::connect(gateway.address()).request("POST", "/orders/regular", "exchange=NSE");
    browser.until_text("banner-item", "transactional: the broker asked for a pause").await;
    browser.until_text("notice", "calls come too fast").await;
    browser.until("the pause ends", "!find('lane-state').innerText.includes('pause')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_paused_and_resumed_with_the_admin_key_and_not_without() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    let state = || -> Value {
        let status: Value = serde_json::from_str(&desk.gateway.status_json()).unwrap();
        status["accounts"][0]["lanes"][0]["state"].clone()
    };
    browser.open(&desk.page()).await;
    // Closed and opened again at once: the event of the end comes when the dialog is open for the second time.
    browser
        .run("const toggle = find('lane-toggle'); toggle.click(); find('admin-dialog').close(); toggle.click();")
        .await;
    browser.until_text("admin-dialog", "Pause transactional?").await;
    browser.click("admin-submit").await;
    browser.until_text("admin-message", "Enter a key").await;
    browser.enter("admin-key", "not-the-key").await;
    browser.click("admin-submit").await;
    browser.until_text("admin-message", "not the admin key").await;
    assert_eq!(state(), "running");
    browser.enter("admin-key", &desk.admin).await;
    browser.click("admin-submit").await;
    browser.until("the lane is paused", "find('lane').dataset.state === 'paused'").await;
    assert_eq!(state(), "paused");
    browser.until_text("banner-item", "transactional is paused by hand").await;
    browser.until_text("notice", "paused").await;
    let crowd = desk.crowd([Member::reader("alpha", 2, &["/user/margins"])]);
    browser.until("its calls wait", "find('lane').innerText.includes('2 of 1,024')").await;
    // The key is known now, and there is nothing to confirm.
    browser.click("lane-toggle").await;
    browser.until("the lane runs", "find('lane').dataset.state === 'running'").await;
    browser.until("its calls go out", "+find('lane-rate').innerText > 0").await;
    assert_eq!(state(), "running");
    drop(crowd);
    browser.until("the banner goes", "!isVisible(find('banner'))").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_an_admin_key_says_so() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::with(|config| config.admin_key = None);
    browser.open(&desk.page()).await;
    browser.click("lane-toggle").await;
    browser.enter("admin-key", "any").await;
    browser.click("admin-submit").await;
    browser.until_text("admin-message", "The gateway has no admin key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_client_opens_the_page_and_pauses_nothing() {
    let Some(browser) = Browser::start().await else { return };
    let mut key = String::new();
    let desk = Desk::with(|config| key = add_client(config, "alpha"));
    browser.driver().goto(desk.page()).await.unwrap();
    browser.until("the page asks for a key", "find('key-dialog').open").await;
    assert_eq!(browser.value("isVisible(find('lane'))").await, false);
    browser.enter("key-field", "without-a-name").await;
    browser.click("key-submit").await;
    browser.until_text("key-message", "NAME:SECRET").await;
    browser.enter("key-field", "alpha:wrong").await;
    browser.click("key-submit").await;
    browser.until_text("key-message", "The gateway does not take this key.").await;
    browser.enter("key-field", &key).await;
    browser.click("key-submit").await;
    browser.until_text("link", "live").await;
    browser
        .until("the lanes are there", "isVisible(find('lane')) && !find('key-dialog').open")
        .await;
    // A reload has no key any more: it was in memory only.
    let kept =
        browser.value("localStorage.length + sessionStorage.length + document.cookie.length").await;
    assert_eq!(kept, 0);
    browser.click("lane-toggle").await;
    browser.enter("admin-key", key.split_once(':').unwrap().1).await;
    browser.click("admin-submit").await;
    browser.until_text("admin-message", "not the admin key").await;
    browser.press(thirtyfour::Key::Escape).await;
    browser.click("key-forget").await;
    browser.until("the page asks again", "find('key-dialog').open").await;
}
