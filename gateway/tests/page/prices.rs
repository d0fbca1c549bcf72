//! The prices on the page: from the cache of all clients, refreshed by hand, and how often that is allowed.

use crate::browser::Browser;
use crate::desk::Desk;
use crate::support::Client;

/// The first row has a price. It may be a whole number.
const HAS_PRICE: &str = "+find('price-value')?.innerText > 0";

const OF_INFY: &str = "all('price').find((row) => row.dataset.instrument === 'NSE:INFY').innerText";

#[tokio::test(flavor = "multi_thread")]
async fn a_price_is_refreshed_by_hand_and_then_there_is_a_cool_down() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&desk.page()).await;
    browser.enter("price-field", "nse:infy, NSE:NOPE").await;
    browser.press(thirtyfour::Key::Enter).await;
    browser.until("the price is there", HAS_PRICE).await;
    browser.until_text("price-rows", "the broker does not know it").await;
    // The address remembers the list.
    let hash = browser.value("decodeURIComponent(location.hash)").await;
    assert_eq!(hash, "#i=NSE:INFY,NSE:NOPE");
    browser.click("refresh").await;
    browser.until("it is fresh", &format!("{OF_INFY}.includes('fresh, ')")).await;
    browser.until_text("refresh", "Refresh in ").await;
    assert_eq!(browser.value("find('refresh').ariaDisabled").await, "true");
    let fetched = desk.exchange.counts("quote").admitted;
    browser.click("refresh").await;
    browser.until("the cool-down ends", "find('refresh').innerText === 'Refresh'").await;
    assert_eq!(desk.exchange.counts("quote").admitted, fetched, "a click too early asks nothing");
    browser.click("refresh").await;
    browser.until_text("refresh", "Refresh in ").await;
    assert_eq!(desk.exchange.counts("quote").admitted, fetched + 1);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_holds_a_user_to_the_cool_down_whatever_the_page_thinks() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&format!("{}#i=NSE:INFY", desk.page())).await;
    browser.until("the price is there", HAS_PRICE).await;
    // Another page of the same desk refreshes.
    let body = r#"{"instruments":["NSE:TCS"]}"#;
    let mut other = Client::connect(desk.gateway.address());
    other.send(format!(
        "POST /_lanekeeper/refresh HTTP/1.1\r\nhost: 127.0.0.1\r\nx-lanekeeper-request: 1\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(other.read("POST").status, 200);
    browser.click("refresh").await;
    browser.until_text("price-message", "Refreshed a moment ago").await;
    browser.until_text("refresh", "Refresh in ").await;
    browser.until("the message goes with the cool-down", "!isVisible(find('price-message'))").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_that_are_followed_change_without_a_click() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&format!("{}#i=NSE:INFY&follow=1", desk.page())).await;
    browser.until("the price is there", HAS_PRICE).await;
    let first = desk.exchange.counts("quote").admitted;
    browser.until("it is asked for again", &format!("{OF_INFY}.includes('5.')")).await;
    browser.until("and is new", &format!("!{OF_INFY}.includes('5.')")).await;
    assert!(desk.exchange.counts("quote").admitted > first);
}
