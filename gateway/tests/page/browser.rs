//! A browser that the tests steer: Chromium without a window, of a new profile, behind its driver.
//!
//! Nothing here sleeps for a fixed time: [`Browser::until`] asks the page until a condition holds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::common::capabilities::chromium::ChromiumLikeCapabilities;
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, LoggingPrefsLogLevel};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::support::Client;
use crate::tools::{program, skip};

/// How long a condition may take. A machine that is busy takes some of it.
const LIMIT: Duration = Duration::from_secs(90);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// So that many browsers run at a time, whatever the number of test threads.
static BROWSERS: Semaphore = Semaphore::const_new(2);

/// The start flags: no window, nothing in the background, and no request of the browser's own.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-GB",
];

/// A browser with one page. It ends when it is dropped.
pub struct Browser {
    driver: Option<WebDriver>,
    _process: DriverProcess,
    _profile: TempDir,
    _permit: SemaphorePermit<'static>,
}

/// The driver's process. Dropping it ends its browsers too.
struct DriverProcess {
    child: Child,
    address: SocketAddr,
}

/// A colour scheme that the page is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Scheme {
    Light,
    Dark,
}

impl Browser {
    /// Starts a browser. `None` if the machine has none: the test is skipped then, unless `CI=true` requires it.
    pub async fn start() -> Option<Self> {
        let (Some(chromium), Some(chromedriver)) =
            (program(&["chromium", "chromium-browser"]), program(&["chromedriver"]))
        else {
            skip("there is no chromium with its chromedriver");
            return None;
        };
        let permit = BROWSERS.acquire().await.unwrap();
        let process = DriverProcess::start(&chromedriver);
        let profile = tempfile::tempdir().unwrap();
        let mut capabilities = ChromeCapabilities::new();
        capabilities.set_binary(&chromium).unwrap();
        for flag in FLAGS {
            capabilities.add_arg(flag).unwrap();
        }
        capabilities.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
        for log in ["browser", "performance"] {
            capabilities.set_logging_prefs(log, LoggingPrefsLogLevel::All).unwrap();
        }
        let driver = WebDriver::builder(format!("http://{}", process.address), capabilities)
            .request_timeout(LIMIT)
            .connect()
            .await
            .unwrap();
        driver.set_script_timeout(LIMIT).await.unwrap();
        let browser =
            Self { driver: Some(driver), _process: process, _profile: profile, _permit: permit };
        browser.resize(1440, 1000).await;
        browser.use_scheme(Scheme::Light).await;
        // Away from the browser's own first page, whose requests are not ours.
        browser.driver().goto("about:blank").await.unwrap();
        drop((browser.complaints().await, browser.requests().await));
        Some(browser)
    }

    pub fn driver(&self) -> &WebDriver {
        self.driver.as_ref().unwrap()
    }

    /// Opens a page, and waits until it shows the lanes.
    pub async fn open(&self, url: &str) {
        self.driver().goto(url).await.unwrap();
        self.until("the page shows a lane", "!!find('lane')").await;
    }

    /// Sets the size of the page, in CSS pixels.
    pub async fn resize(&self, width: u32, height: u32) {
        self.resize_scaled(width, height, 1).await;
    }

    /// Sets the size of the page, with so many pixels of the screen for one of CSS.
    pub async fn resize_scaled(&self, width: u32, height: u32, scale: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": false});
        self.command("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Returns a picture of what is in the window, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        self.driver().screenshot_as_png().await.unwrap()
    }

    /// Sets the colour scheme that the page is asked for. Colours change at once, since motion is unwanted too.
    pub async fn use_scheme(&self, scheme: Scheme) {
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let features = json!([
            {"name": "prefers-color-scheme", "value": value},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.command("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Sends a command of the DevTools protocol.
    pub async fn command(&self, method: &str, parameters: Value) -> Value {
        self.driver().cdp().send_raw(method, parameters).await.unwrap()
    }

    /// Returns the value of a JavaScript expression. In it `find(id)` is the first element of this `data-testid`,
    /// `all(id)` are all of them, and `shown(id)` is the text of the first one, or `null` if it is not visible.
    pub async fn value(&self, expression: &str) -> Value {
        self.run(&format!("return ({expression});")).await
    }

    /// Runs a script, with the same helpers.
    pub async fn run(&self, script: &str) -> Value {
        let whole = format!("{HELPERS}\n{script}");
        let ran = self.driver().execute(whole, Vec::new()).await;
        ran.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// Waits until an expression is true.
    pub async fn until(&self, what: &str, expression: &str) {
        self.until_within(LIMIT, what, expression).await;
    }

    /// Waits until an expression is true, but no longer than this.
    pub async fn until_within(&self, limit: Duration, what: &str, expression: &str) {
        let began = Instant::now();
        while !is_true(&self.value(expression).await) {
            if began.elapsed() > limit {
                let text = self.value("document.body.innerText").await;
                let text = text.as_str().unwrap_or_default().to_owned();
                let complaints = self.complaints().await;
                panic!(
                    "not so, after {limit:?}: {what}\n{expression}\n{complaints:#?}\nthe page is:\n{text}"
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the text of an element contains `part`, and returns the text.
    pub async fn until_text(&self, id: &str, part: &str) -> String {
        let (name, wanted) = (json!(id), json!(part));
        let holds = format!("(shown({name}) ?? '').includes({wanted})");
        self.until(&format!("`{id}` says {part:?}"), &holds).await;
        self.text(id).await
    }

    /// Returns the visible text of an element, or nothing.
    pub async fn text(&self, id: &str) -> String {
        let text = self.value(&format!("shown({})", json!(id))).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Returns the first element of this `data-testid`.
    pub async fn find(&self, id: &str) -> WebElement {
        self.within("", id).await
    }

    /// Returns the first element of this `data-testid` below what a selector of CSS matches.
    pub async fn within(&self, parent: &str, id: &str) -> WebElement {
        let selector = format!("{parent} [data-testid=\"{id}\"]");
        let found = self.driver().find(By::Css(selector.as_str())).await;
        found.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    pub async fn click(&self, id: &str) {
        self.find(id).await.click().await.unwrap();
    }

    /// Writes into a field, in the place of what is there.
    pub async fn enter(&self, id: &str, text: &str) {
        let field = self.find(id).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: impl Into<TypingData>) {
        self.driver().action_chain().send_keys(keys).perform().await.unwrap();
    }

    /// Presses Tab until the element of this `data-testid` has the focus, as a person without a mouse does.
    pub async fn tab_to(&self, id: &str) {
        let has_focus = format!("document.activeElement === find({})", json!(id));
        for _ in 0..200 {
            if is_true(&self.value(&has_focus).await) {
                return;
            }
            self.press(Key::Tab).await;
        }
        panic!("`{id}` cannot be reached with Tab");
    }

    /// Returns what the browser complained of since the last call: errors and warnings of scripts, of the security
    /// policy, and of loading.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.driver().browser_log().await.unwrap();
        let is_one = |level: &str| matches!(level, "SEVERE" | "WARNING");
        entries
            .into_iter()
            .filter(|entry| is_one(&entry.level))
            .map(|entry| entry.message)
            .collect()
    }

    /// Returns the addresses that were requested since the last call, each with how often.
    pub async fn requests(&self) -> BTreeMap<String, usize> {
        let mut requests = BTreeMap::new();
        for entry in self.driver().get_log("performance").await.unwrap() {
            let event: Value = serde_json::from_str(&entry.message).unwrap();
            if event["message"]["method"] == "Network.requestWillBeSent" {
                let url = event["message"]["params"]["request"]["url"].as_str().unwrap().to_owned();
                *requests.entry(url).or_default() += 1;
            }
        }
        requests
    }
}

/// What the expressions of [`Browser::value`] can use. An element is visible if it has a box.
const HELPERS: &str = r#"
const all = (id) => [...document.querySelectorAll(`[data-testid="${id}"]`)];
const find = (id) => document.querySelector(`[data-testid="${id}"]`);
const isVisible = (node) => node !== null && node.checkVisibility() && node.getClientRects().length > 0;
const shown = (id) => (isVisible(find(id)) ? find(id).innerText : null);
"#;

fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| panic!("{value} is neither true nor false"))
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of the driver is the end of the session, so thirtyfour need not end it.
        let _ = self.driver.take().map(WebDriver::leak);
    }
}

impl DriverProcess {
    /// Starts the driver on a free port. It takes one of IPv4, and ends if the same is not free in IPv6.
    fn start(program: &str) -> Self {
        (0..20).find_map(|_| Self::try_start(program)).expect("the driver does not start")
    }

    fn try_start(program: &str) -> Option<Self> {
        let mut child = Command::new(program)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // "Starting .. on port 0", and later "started successfully on port 43215."
        let port = |line: String| -> Option<u16> {
            line.rsplit_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
        };
        let Some(port) = lines.by_ref().map_while(Result::ok).find_map(port) else {
            child.wait().unwrap();
            return None;
        };
        // What it says later is read, so that the pipe does not fill.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
    }
}

impl Drop for DriverProcess {
    fn drop(&mut self) {
        // It ends its browsers, and then itself.
        if std::net::TcpStream::connect(self.address).is_ok() {
            Client::connect(self.address).begin("GET", "/shutdown", "", "");
        }
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < Duration::from_secs(20)
        {
            std::thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
