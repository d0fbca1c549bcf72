//! `lanekeeper top`: the state of a running gateway in a terminal.
//!
//! - `client.rs` sends requests to the gateway, `sse.rs` decodes its events, and `feed.rs` keeps the stream of events
//!   open on a thread of its own.
//! - `text.rs` makes text from the gateway harmless for a terminal, and `model.rs` reads its status into such text.
//! - `app.rs` is the state of the screen, `history.rs` the last minute in it, and `view/` draws it.
//! - `plain.rs` prints the state once, for scripts.
//!
//! The main thread waits for keys, takes what the feed has brought, and draws four times a second. Only what has
//! changed is written to the terminal.

mod app;
mod client;
mod feed;
mod history;
mod model;
mod plain;
mod shared;
mod sse;
mod text;
mod view;

use std::env;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use serde_json::Value;

use self::app::{Action, App};
use self::client::{Address, Command, Failure, Gateway, Key};
use self::feed::{Message, Patience};
use self::text::Text;
use self::view::Palette;
use crate::command::print;
use crate::signal;

/// How long the loop waits for a key before it looks at the feed and draws.
const TICK: Duration = Duration::from_millis(250);

/// The messages that wait for the screen. If the terminal is slow, the feed waits too.
const MESSAGES: usize = 64;

const KEY: &str = "LANEKEEPER_KEY";
const ADMIN_KEY: &str = "LANEKEEPER_ADMIN_KEY";

#[derive(Args)]
pub struct TopArgs {
    /// The address of the gateway
    #[arg(long, default_value = "http://127.0.0.1:8800", value_parser = Address::parse)]
    url: Address,
    /// Print the state once as text and end
    #[arg(long)]
    once: bool,
    /// Print the state once as a line of JSON and end
    #[arg(long)]
    json: bool,
}

pub fn run(args: &TopArgs) -> Result<(), Box<dyn std::error::Error>> {
    let key = key_from_environment(KEY, None)?;
    let admin_key = key_from_environment(ADMIN_KEY, Some("admin"))?;
    let gateway = Gateway::new(&args.url, key, admin_key);
    // Before the screen opens, so that a wrong address or key is an error that stays visible.
    let json = gateway.status()?;
    let not_understood = |error: serde_json::Error| Failure::NoGateway {
        url: args.url.as_str().to_owned(),
        why: Text::new(&format!("its status is not understood: {error}")),
    };
    if args.json {
        let status: Value = serde_json::from_str(&json).map_err(not_understood)?;
        return Ok(print(format!("{}\n", printable(&status)).as_bytes())?);
    }
    let status = model::read(&json).map_err(not_understood)?;
    if args.once || !io::stdout().is_terminal() {
        return Ok(print(plain::plain(&args.url, &status).as_bytes())?);
    }
    let app = App::new(args.url.as_str(), gateway.has_admin_key(), status);
    Screen::open(Arc::new(gateway))?.run(app)
}

/// Reads a key from the environment. `name` is put before a key that has none.
fn key_from_environment(
    variable: &'static str,
    name: Option<&str>,
) -> Result<Option<Key>, Failure> {
    let value = match env::var(variable) {
        Ok(value) if value.is_empty() => return Ok(None),
        Ok(value) => value,
        Err(env::VarError::NotPresent) => return Ok(None),
        Err(env::VarError::NotUnicode(_)) => return Err(Failure::NoKey(variable)),
    };
    let value = match name {
        Some(name) if !value.starts_with(&format!("{name}:")) => format!("{name}:{value}"),
        _ => value,
    };
    Key::parse(variable, &value).map(Some)
}

/// Writes JSON without control characters, which are possible within its strings only.
fn printable(json: &Value) -> String {
    let mut text = String::new();
    for c in json.to_string().chars() {
        match c.is_control() {
            true => text += &format!("\\u{:04x}", u32::from(c)),
            false => text.push(c),
        }
    }
    text
}

/// The terminal in its own mode. It is put back when this is dropped, and before the message of a panic.
struct Screen {
    terminal: DefaultTerminal,
    gateway: Arc<Gateway>,
    messages: Receiver<Message>,
    to_screen: SyncSender<Message>,
    is_ended: Arc<AtomicBool>,
}

impl Screen {
    fn open(gateway: Arc<Gateway>) -> Result<Self, Box<dyn std::error::Error>> {
        let is_ended = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_ended);
        signal::on_first(move || ends.store(true, Ordering::Relaxed))?;
        let (to_screen, messages) = mpsc::sync_channel(MESSAGES);
        feed::start(Arc::clone(&gateway), to_screen.clone(), Patience::default())?;
        let terminal = ratatui::try_init().inspect_err(|_| put_back())?;
        Ok(Self { terminal, gateway, messages, to_screen, is_ended })
    }

    /// Shows the state until a key or a signal ends it.
    fn run(mut self, mut app: App) -> Result<(), Box<dyn std::error::Error>> {
        let start = Instant::now();
        // https://no-color.org: any value but the empty one.
        let palette = Palette::new(env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
        while !self.is_ended.load(Ordering::Relaxed) {
            app.now = start.elapsed();
            for message in self.messages.try_iter() {
                app.hear(message);
            }
            self.terminal.draw(|frame| view::draw(frame, &app, palette))?;
            if !event::poll(TICK)? {
                continue;
            }
            // A new size is drawn in the next round.
            if let Event::Key(key) = event::read()? {
                match app.press(key) {
                    Action::None => {}
                    Action::Quit => break,
                    Action::Send(command) => self.send(command)?,
                }
            }
        }
        Ok(())
    }

    /// Sends a command on a thread of its own. The answer comes as a message.
    fn send(&self, command: Command) -> io::Result<()> {
        let (gateway, answers) = (Arc::clone(&self.gateway), self.to_screen.clone());
        thread::Builder::new().name("top-command".to_owned()).spawn(move || {
            let answer = match gateway.command(&command) {
                Ok(state) => {
                    Ok(Text::new(&format!("the lane {} is {}", command.lane, state.words())))
                }
                Err(failure) => Err(Text::new(&failure.to_string())),
            };
            // The screen may have ended.
            let _ = answers.send(Message::Answer(answer));
        })?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Before the message of a panic ratatui has done it, and a second time would move the cursor over the message.
        if !thread::panicking() {
            put_back();
        }
    }
}

/// Puts the terminal back into the mode in which it was.
fn put_back() {
    // An error means that the terminal has gone.
    let _ = ratatui::try_restore();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_json_has_no_control_characters_and_is_the_same_json() {
        let json = Value::from("a\u{1b}[2J\u{9b}\u{7f}\n");
        let text = printable(&json);
        assert_eq!(text, r#""a\u001b[2J\u009b\u007f\n""#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json);
    }
}
