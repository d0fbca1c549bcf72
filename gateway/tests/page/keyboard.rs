//! The page without a mouse: everything that can be done, done with Tab, Enter and Escape.

use thirtyfour::Key;

use crate::browser::Browser;
use crate::desk::{Desk, add_client};

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_done_with_the_keyboard_alone() {
    let Some(browser) = Browser::start().await else { return };
    let mut key = String::new();
    let desk = Desk::with(|config| key = add_client(config, "alpha"));
    browser.driver().goto(desk.page()).await.unwrap();
    browser
        .until(
            "the field for the key has the focus",
            "document.activeElement === find('key-field')",
        )
        .await;
    browser.press(key.as_str()).await;
    browser.press(Key::Enter).await;
    browser.until_text("link", "live").await;
    browser
        .until("the lanes are there", "isVisible(find('lane')) && !find('key-dialog').open")
        .await;

    browser.tab_to("price-field").await;
    browser.press("NSE:INFY").await;
    browser.press(Key::Enter).await;
    browser.until("the price is there", "+find('price-value').innerText > 0").await;
    browser.tab_to("refresh").await;
    browser.press(Key::Enter).await;
    browser.until_text("refresh", "Refresh in ").await;
    let stays = "document.activeElement === find('refresh')";
    assert_eq!(browser.value(stays).await, true, "a button that cools down keeps the focus");

    browser.tab_to("scan-field").await;
    browser.press("NSE:INFY").await;
    browser.tab_to("scan-start").await;
    browser.press(" ").await;
    browser.until_text("scan-state", "done").await;

    browser.tab_to("lane-toggle").await;
    browser.press(Key::Enter).await;
    browser
        .until("the dialog takes the focus", "document.activeElement === find('admin-key')")
        .await;
    browser.press(Key::Escape).await;
    browser.until("the focus returns", "document.activeElement === find('lane-toggle')").await;
    browser.press(Key::Enter).await;
    browser.press(desk.admin.as_str()).await;
    browser.press(Key::Enter).await;
    browser.until("the lane is paused", "find('lane').dataset.state === 'paused'").await;
    assert_eq!(browser.value("document.activeElement === find('lane-toggle')").await, true);
    browser.press(Key::Enter).await;
    browser.until("the lane runs", "find('lane').dataset.state === 'running'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_the_focus_is_seen_to_have_it() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&desk.page()).await;
    // From the first stop to the last, each one has an outline and is within the window.
    let mut stops = 0;
    loop {
        browser.press(Key::Tab).await;
        let stop = browser
            .run(
                "const node = document.activeElement;
                 if (node === document.body) return null;
                 const { top, bottom, left, right } = node.getBoundingClientRect();
                 const isInside = bottom > 0 && top < innerHeight && right > 0 && left < innerWidth;
                 return { name: node.outerHTML.slice(0, 200), isInside, outline: getComputedStyle(node).outlineStyle };",
            )
            .await;
        if stop.is_null() {
            break;
        }
        assert!(stop["isInside"] == true && stop["outline"] != "none", "{stop}");
        stops += 1;
        assert!(stops < 100, "Tab does not come to an end");
    }
    assert!(stops >= 10, "{stops} stops");
}
