//! Scans on the page: started, paused, resumed, cancelled, and followed to the end.

use crate::browser::Browser;
use crate::desk::{Desk, SHARES, add_client};
use crate::support::Client;

/// Returns so many names, of which the exchange knows the first.
fn names(count: usize) -> String {
    let known = SHARES.iter().map(|share| format!("NSE:{share}"));
    let invented = (0..).map(|number| format!("NSE:INVENTED{number}"));
    known.chain(invented).take(count).collect::<Vec<_>>().join("\n")
}

/// Writes a list into the field at once. A person pastes it.
async fn paste(browser: &Browser, text: &str) {
    let text = serde_json::json!(text);
    browser.run(&format!("find('scan-field').value = {text};")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_is_followed_to_its_end_with_a_pause_in_between() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&desk.page()).await;
    browser.click("scan-start").await;
    browser.until_text("scan-message", "Enter instruments").await;
    browser
        .run(
            "window.banners = 0;
             const look = () => (window.banners += isVisible(find('banner')) ? 1 : 0);
             new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });",
        )
        .await;
    // A call asks for a hundred of them, and there is one a second.
    paste(&browser, &names(950)).await;
    browser.click("scan-start").await;
    browser.until_text("scan-state", "running").await;
    browser.until("results come in", "all('scan-result').length >= 100").await;
    browser.click("scan-toggle").await;
    browser.until_text("scan-state", "paused").await;
    // The call that was under way ends, and then nothing is asked for.
    let scan = || {
        let list = Client::connect(desk.gateway.address()).request("GET", "/_lanekeeper/scans", "");
        list.json()["scans"][0].clone()
    };
    browser
        .until(
            "nothing is in flight",
            "find('lanes').querySelector('[data-lane=quote]').innerText.includes('0 of')",
        )
        .await;
    let (asked, done) = (desk.exchange.counts("quote").admitted, scan()["done"].clone());
    // Three more snapshots of the gateway.
    let uptime = browser.value("document.getElementById('uptime').innerText").await;
    let later = format!(
        "parseFloat(document.getElementById('uptime').innerText) - parseFloat({uptime}) > 2.5"
    );
    browser.until("three seconds pass", &later).await;
    assert_eq!((desk.exchange.counts("quote").admitted, scan()["done"].clone()), (asked, done));
    assert_eq!(scan()["state"], "paused");
    browser.click("scan-toggle").await;
    browser.until_text("scan-state", "running").await;
    browser.until_text("scan-state", "done").await;
    let detail = browser.text("scan-detail").await;
    assert_eq!(detail, "950 of 950, 942 failed");
    assert_eq!(scan()["state"], "done");
    // The page keeps the last results, each once.
    browser.until("the last results are kept", "all('scan-result').length === 300").await;
    let distinct = "new Set(all('scan-result').map((row) => row.cells[0].innerText)).size";
    assert_eq!(browser.value(distinct).await, 300);
    browser.until_text("scan-results", "950").await;
    assert_eq!(desk.exchange.counts("quote").admitted, 10, "one call for a hundred");
    let banners = browser.value("window.banners").await;
    assert_eq!(banners, 0, "a scan waits for other calls, and is no reason for a banner");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_results_of_a_scan_have_prices_and_reasons_and_can_be_looked_at_again() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&desk.page()).await;
    paste(&browser, "NSE:INFY NSE:NOPE").await;
    browser.click("scan-start").await;
    browser.until_text("scan-state", "done").await;
    assert_eq!(browser.text("scan-detail").await, "2 of 2, 1 failed");
    let row = |name: &str| {
        format!(
            "all('scan-result').find((row) => row.innerText.includes('{name}'))?.cells[3].innerText"
        )
    };
    let infy = browser.value(&row("INFY")).await;
    assert!(infy.as_str().unwrap().parse::<f64>().unwrap() > 0.0, "a price: {infy}");
    let nope = browser.value(&row("NOPE")).await;
    assert_eq!(nope, "the broker has no quote of it");
    // Another page of the same gateway finds the scan, and its results.
    browser.driver().refresh().await.unwrap();
    browser.until_text("scan-item", "Scan s1").await;
    assert_eq!(browser.value("all('scan-result').length").await, 0);
    browser.click("scan-look").await;
    browser.until("the results are there again", "all('scan-result').length === 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_is_cancelled_and_one_that_is_too_long_refused() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&desk.page()).await;
    paste(&browser, &names(5001)).await;
    browser.click("scan-start").await;
    browser.until_text("scan-message", "1 to 5000").await;
    paste(&browser, &names(5000)).await;
    browser.click("scan-start").await;
    browser.until("results come in", "all('scan-result').length >= 100").await;
    browser.click("scan-cancel").await;
    browser.until_text("scan-state", "cancelled").await;
    browser
        .until(
            "it has no buttons to pause or cancel",
            "!isVisible(find('scan-toggle')) && !isVisible(find('scan-cancel'))",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scan_of_another_client_is_shown_and_not_offered() {
    let Some(browser) = Browser::start().await else { return };
    let (mut alpha, mut beta) = (String::new(), String::new());
    let desk = Desk::with(|config| {
        alpha = add_client(config, "alpha");
        beta = add_client(config, "beta");
    });
    let lines = format!(
        "authorization: Bearer {beta}\r\nx-lanekeeper-request: 1\r\ncontent-type: application/json\r\n"
    );
    let list = format!("{{\"instruments\": [\"NSE:{}\"]}}", SHARES[0]);
    let answer = Client::connect(desk.gateway.address()).request_with(
        "POST",
        "/_lanekeeper/scans",
        &lines,
        &list,
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
    for (key, may_use) in [(&alpha, false), (&beta, true), (&format!("admin:{}", desk.admin), true)]
    {
        browser.driver().goto(desk.page()).await.unwrap();
        browser.until("the page asks for a key", "find('key-dialog').open").await;
        browser.enter("key-field", key).await;
        browser.click("key-submit").await;
        browser.until_text("scan-item", "Scan s1").await;
        assert_eq!(browser.value("isVisible(find('scan-look'))").await, may_use, "{key}");
    }
}
