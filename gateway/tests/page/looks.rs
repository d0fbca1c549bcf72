//! How the page looks: on a narrow screen, in the dark, and to the checks of accessibility.

use std::fs;

use serde_json::{Value, json};

use crate::browser::{Browser, Scheme};
use crate::desk::{Crowd, Desk, Member, add_client};
use crate::tools::{file, skip};

/// A crowd, some of whose names are long.
fn busy(desk: &Desk) -> Crowd {
    let long = "a-strategy-with-the-longest-of-all-names";
    let mut members = vec![
        Member::reader(long, 10, &["/user/margins", "/portfolio/positions"]),
        Member::reader("beta", 10, &["/orders", "/quote/ltp?i=NSE:INFY"]),
        Member::trader("gamma", 4),
    ];
    let small = (0..20).map(|number| Member::reader(&format!("desk-{number}"), 1, &["/trades"]));
    members.extend(small);
    desk.crowd(members)
}

/// Opens the page of a busy desk, with prices and a scan, so that every part has something in it.
async fn open_busy(browser: &Browser, desk: &Desk) -> Crowd {
    let crowd = busy(desk);
    browser
        .open(&format!(
            "{}#i=NSE:INFY,NSE:A-VERY-LONG-NAME-OF-AN-INSTRUMENT-24DEC28000CE",
            desk.page()
        ))
        .await;
    let names = json!("NSE:INFY\nNSE:A-VERY-LONG-NAME-OF-AN-INSTRUMENT-24DEC28000CE");
    browser.run(&format!("find('scan-field').value = {names};")).await;
    browser.click("scan-start").await;
    browser.until("results are there", "all('scan-result').length === 2").await;
    browser
        .until(
            "prices are there",
            "all('price').length === 2 && /\\d/.test(find('price-value').innerText)",
        )
        .await;
    browser.until("the lane is at its limit", "isVisible(find('banner-item'))").await;
    browser.until("clients are there", "all('client').length > 20").await;
    crowd
}

/// Finds what is wider than the screen, and texts that are cut off, unless they end with an ellipsis and say the whole
/// in a title. What scrolls sideways by itself may be wide.
const CUT: &str = r#"
const scrolls = (node) => node.closest('.scroll-x') !== null;
const hidden = (node) => node.closest('.unseen, .skip, svg, dialog:not([open])') !== null;
const nodes = [...document.body.querySelectorAll('*')].filter((node) => isVisible(node) && !hidden(node));
const say = (why, node) => `${why}: ${node.outerHTML.slice(0, 160)}`;
const wide = nodes
  .filter((node) => !scrolls(node))
  .filter((node) => {
    const { left, right } = node.getBoundingClientRect();
    return left < -0.5 || right > innerWidth + 0.5;
  })
  .map((node) => say('beyond the screen', node));
const cut = nodes
  .filter((node) => node.children.length === 0 && node.innerText?.trim())
  .filter((node) => node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).overflowX !== 'visible')
  .filter((node) => !node.title && !['INPUT', 'TEXTAREA'].includes(node.tagName))
  .map((node) => say('cut off', node));
const page = document.scrollingElement;
const sideways = page.scrollWidth > innerWidth ? [`the page is ${page.scrollWidth} wide`] : [];
return [...sideways, ...wide, ...cut];
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cut_off_from_a_phone_to_a_wall() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    let _crowd = open_busy(&browser, &desk).await;
    for width in [360, 414, 600, 768, 1024, 1280, 1440, 1920, 2560] {
        browser.resize(width, 900).await;
        let cut = browser.run(CUT).await;
        assert_eq!(cut, json!([]), "at a width of {width}");
    }
    // And with a dialog.
    browser.resize(360, 740).await;
    browser.click("lane-toggle").await;
    assert_eq!(browser.run(CUT).await, json!([]), "with a dialog");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_light_or_dark_as_the_system_is() {
    let Some(browser) = Browser::start().await else { return };
    let desk = Desk::open();
    browser.open(&desk.page()).await;
    let luminance = "(() => {
        const [r, g, b] = getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number);
        return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
    })()";
    browser.use_scheme(Scheme::Light).await;
    assert!(browser.value(luminance).await.as_f64().unwrap() > 0.85);
    browser.use_scheme(Scheme::Dark).await;
    assert!(browser.value(luminance).await.as_f64().unwrap() < 0.15);
}

/// Returns the program of the checks. `None` if it is not installed: the test is skipped then.
fn axe() -> Option<String> {
    let found = fs::read_to_string(file("tools/node_modules/axe-core/axe.min.js"));
    if found.is_err() {
        skip("there is no axe-core: run `npm ci` in gateway/tests/page/tools");
    }
    found.ok()
}

/// Returns the serious and critical findings on the page as it is.
async fn findings(browser: &Browser, axe: &str) -> Vec<String> {
    if browser.value("typeof axe").await == "undefined" {
        // Through the driver, since the security policy of the page lets no other script in.
        browser.run(&format!("{axe}\nwindow.axe = axe;")).await;
    }
    let script = "const [done] = arguments;
        axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => done(violations));";
    let ran = browser.driver().execute_async(script, Vec::new()).await.unwrap();
    let violations: Vec<Value> = ran.convert().unwrap();
    let is_grave = |one: &&Value| matches!(one["impact"].as_str(), Some("serious" | "critical"));
    let say = |one: &Value| {
        let nodes: Vec<_> =
            one["nodes"].as_array().unwrap().iter().map(|node| &node["html"]).collect();
        format!("{}: {} {nodes:?}", one["id"], one["help"])
    };
    violations.iter().filter(is_grave).map(say).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checks_of_accessibility_find_nothing_serious() {
    let (Some(browser), Some(axe)) = (Browser::start().await, axe()) else { return };
    let desk = Desk::open();
    let crowd = open_busy(&browser, &desk).await;
    let none = Vec::<String>::new();
    for (width, height) in [(1440, 1000), (360, 740)] {
        browser.resize(width, height).await;
        for scheme in [Scheme::Light, Scheme::Dark] {
            browser.use_scheme(scheme).await;
            assert_eq!(findings(&browser, &axe).await, none, "{width} wide, {scheme:?}");
        }
    }
    // Paused, with the dialog open, once it is refused and once it is not.
    browser.click("lane-toggle").await;
    browser.enter("admin-key", "wrong").await;
    browser.click("admin-submit").await;
    browser.until_text("admin-message", "not the admin key").await;
    for scheme in [Scheme::Light, Scheme::Dark] {
        browser.use_scheme(scheme).await;
        assert_eq!(findings(&browser, &axe).await, none, "the dialog of the admin, {scheme:?}");
    }
    browser.enter("admin-key", &desk.admin).await;
    browser.click("admin-submit").await;
    browser.until("the lane is paused", "find('lane').dataset.state === 'paused'").await;
    for scheme in [Scheme::Light, Scheme::Dark] {
        browser.use_scheme(scheme).await;
        assert_eq!(findings(&browser, &axe).await, none, "a paused lane, {scheme:?}");
    }
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dialog_for_the_key_and_an_empty_page_are_accessible_too() {
    let (Some(browser), Some(axe)) = (Browser::start().await, axe()) else { return };
    let mut key = String::new();
    let desk = Desk::with(|config| key = add_client(config, "alpha"));
    browser.driver().goto(desk.page()).await.unwrap();
    browser.until("the page asks for a key", "find('key-dialog').open").await;
    let none = Vec::<String>::new();
    for scheme in [Scheme::Light, Scheme::Dark] {
        browser.use_scheme(scheme).await;
        assert_eq!(findings(&browser, &axe).await, none, "the dialog for the key, {scheme:?}");
    }
    browser.enter("key-field", &key).await;
    browser.click("key-submit").await;
    browser
        .until("the lanes are there", "isVisible(find('lane')) && !find('key-dialog').open")
        .await;
    assert_eq!(findings(&browser, &axe).await, none, "an empty page");
}
