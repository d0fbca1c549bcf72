//! The page over the end of its gateway and the start of another one.

use crate::browser::Browser;
use crate::desk::Desk;
use crate::support;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_finds_a_gateway_that_was_started_anew_and_misses_no_notice() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&desk.page()).await;
    browser.until_text("link", "live").await;
    browser.click("lane-toggle").await;
    browser.enter("admin-key", &desk.admin).await;
    browser.click("admin-submit").await;
    browser.until_text("notice", "the lane is paused by hand").await;
    let address = desk.gateway.address();
    let config = || {
        let mut config = support::kite(&desk.exchange.base_url());
        config.listen = address;
        config
    };
    drop(desk.gateway);
    browser.until_text("link", "reconnecting").await;
    browser
        .until("what is shown is said to be old", "document.body.hasAttribute('data-stale')")
        .await;
    let again = support::start(config());
    again.reload(config()).unwrap();
    browser.until_text("link", "live").await;
    browser
        .until("the lane of the new gateway runs", "find('lane').dataset.state === 'running'")
        .await;
    browser.until_text("notice", "the configuration was read again").await;
    let earlier =
        "all('notice').some((notice) => notice.innerText.includes('the lane is paused by hand'))";
    assert_eq!(browser.value(earlier).await, true, "what the first gateway said is still there");
    browser.until("nothing is old", "!document.body.hasAttribute('data-stale')").await;
}
