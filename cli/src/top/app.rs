//! What the screen knows, and what keys and messages change in it. No terminal, no network and no clock: the time comes
//! from outside, as the time since the start.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::client::{Command, Verb};
use super::feed::Message;
use super::history::History;
use super::model::{Lane, Notice, Status};
use super::text::Text;

/// How many notices are kept. A gateway replays as many.
const MAX_NOTICES: usize = 100;

/// A lane among all accounts: the names of its account and of itself.
pub type LaneId = (Text, Text);

/// Whether the events of the gateway arrive.
#[derive(Debug, Clone, PartialEq)]
pub enum Link {
    Connecting,
    Live,
    /// Lost, for this reason. It is opened again all the time.
    Lost(Text),
}

/// What lies over the screen and takes the next key.
#[derive(Debug, Clone, PartialEq)]
pub enum Overlay {
    None,
    Help,
    /// Asks whether to do this.
    Confirm(Command),
}

/// What the loop is to do after a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    None,
    Quit,
    /// Send this to the gateway.
    Send(Command),
}

/// The state of the screen.
#[derive(Debug)]
pub struct App {
    pub url: String,
    pub has_admin_key: bool,
    pub status: Status,
    pub link: Link,
    /// The newest last.
    pub notices: VecDeque<Notice>,
    pub overlay: Overlay,
    /// What is said in the last line until the next key: how a command ended.
    pub answer: Option<Result<Text, Text>>,
    pub now: Duration,
    /// When the last status came.
    pub heard: Duration,
    history: BTreeMap<LaneId, History>,
    chosen: Option<LaneId>,
}

impl App {
    /// Begins with a first status.
    pub fn new(url: &str, has_admin_key: bool, status: Status) -> Self {
        let mut app = Self {
            url: url.to_owned(),
            has_admin_key,
            status: Status::default(),
            link: Link::Connecting,
            notices: VecDeque::new(),
            overlay: Overlay::None,
            answer: None,
            now: Duration::ZERO,
            heard: Duration::ZERO,
            history: BTreeMap::new(),
            chosen: None,
        };
        app.take_status(status);
        app
    }

    /// Takes what the feed brings.
    pub fn hear(&mut self, message: Message) {
        match message {
            Message::Live => self.link = Link::Live,
            Message::Lost(why) => self.link = Link::Lost(why),
            Message::Status(status) => self.take_status(*status),
            Message::Notice(notice) => {
                self.notices.push_back(notice);
                if self.notices.len() > MAX_NOTICES {
                    self.notices.pop_front();
                }
            }
            Message::Answer(answer) => self.answer = Some(answer),
        }
    }

    /// Takes a key.
    pub fn press(&mut self, key: KeyEvent) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Action::Quit } else { Action::None };
        }
        self.answer = None;
        match std::mem::replace(&mut self.overlay, Overlay::None) {
            Overlay::Confirm(command) if key.code == KeyCode::Char('y') => {
                return Action::Send(command);
            }
            // Any other key closes what lies over the screen.
            Overlay::Confirm(_) | Overlay::Help => return Action::None,
            Overlay::None => {}
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Tab | KeyCode::Down | KeyCode::Right | KeyCode::Char('j') => self.choose(1),
            KeyCode::BackTab | KeyCode::Up | KeyCode::Left | KeyCode::Char('k') => self.choose(-1),
            KeyCode::Char('?' | 'h') => self.overlay = Overlay::Help,
            KeyCode::Char('p') => self.ask(Verb::Pause),
            KeyCode::Char('r') => self.ask(Verb::Resume),
            _ => {}
        }
        Action::None
    }

    /// Returns all lanes in the order of the screen.
    pub fn lanes(&self) -> impl Iterator<Item = (LaneId, &Lane)> {
        self.status.accounts.iter().flat_map(|account| {
            account.lanes.iter().map(|lane| ((account.name.clone(), lane.lane.clone()), lane))
        })
    }

    /// Whether this lane is the chosen one. If that one has gone, the first lane is.
    pub fn is_chosen(&self, id: &LaneId) -> bool {
        self.chosen_lane().as_ref() == Some(id)
    }

    /// Returns the rates of a lane in the last minute.
    pub fn history(&self, id: &LaneId) -> Option<&History> {
        self.history.get(id)
    }

    fn chosen_lane(&self) -> Option<LaneId> {
        let is_there = |chosen: &&LaneId| self.lanes().any(|(id, _)| id == **chosen);
        self.chosen
            .as_ref()
            .filter(is_there)
            .cloned()
            .or_else(|| self.lanes().next().map(|(id, _)| id))
    }

    /// Chooses the lane after or before the chosen one, and begins again at the end.
    fn choose(&mut self, step: isize) {
        let ids: Vec<LaneId> = self.lanes().map(|(id, _)| id).collect();
        let chosen = self.chosen_lane();
        let at = ids.iter().position(|id| Some(id) == chosen.as_ref()).unwrap_or(0);
        let next =
            (at + ids.len()).checked_add_signed(step).and_then(|next| next.checked_rem(ids.len()));
        self.chosen = next.and_then(|next| ids.get(next).cloned());
    }

    fn ask(&mut self, verb: Verb) {
        let Some((account, lane)) = self.chosen_lane() else { return };
        match self.has_admin_key {
            true => self.overlay = Overlay::Confirm(Command { verb, account, lane }),
            false => {
                let verb = verb.as_str();
                let why = format!(
                    "to {verb} a lane, set LANEKEEPER_ADMIN_KEY and start `lanekeeper top` again"
                );
                self.answer = Some(Err(Text::new(&why)));
            }
        }
    }

    fn take_status(&mut self, status: Status) {
        self.status = status;
        let rates: Vec<(LaneId, f64)> =
            self.lanes().map(|(id, lane)| (id, lane.calls_per_second.unwrap_or(0.0))).collect();
        // The history of a lane that has gone goes too, so that it cannot grow without limit.
        self.history.retain(|id, _| rates.iter().any(|(there, _)| there == id));
        for (id, rate) in rates {
            self.history.entry(id).or_default().push(self.now, rate);
        }
        self.heard = self.now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::{self, EXAMPLE};

    fn app(has_admin_key: bool) -> App {
        App::new("http://gate", has_admin_key, model::read(EXAMPLE).unwrap())
    }

    fn press(app: &mut App, code: KeyCode) -> Action {
        app.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn chosen(app: &App) -> String {
        app.chosen_lane().unwrap().1.to_string()
    }

    #[test]
    fn three_keys_end_the_screen() {
        let mut app = app(false);
        assert_eq!(press(&mut app, KeyCode::Char('q')), Action::Quit);
        assert_eq!(press(&mut app, KeyCode::Esc), Action::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        app.overlay = Overlay::Help;
        assert_eq!(app.press(interrupt), Action::Quit);
        let mut released = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        released.kind = KeyEventKind::Release;
        assert_eq!(app.press(released), Action::None);
    }

    #[test]
    fn keys_choose_a_lane_and_begin_again_at_the_end() {
        let mut app = app(false);
        assert_eq!(chosen(&app), "transactional");
        press(&mut app, KeyCode::Tab);
        assert_eq!(chosen(&app), "quote");
        press(&mut app, KeyCode::Down);
        press(&mut app, KeyCode::Tab);
        assert_eq!(chosen(&app), "transactional");
        press(&mut app, KeyCode::Up);
        assert_eq!(chosen(&app), "historical");
        // The lane goes away, with its history.
        app.status.accounts[0].lanes.pop();
        let status = app.status.clone();
        app.hear(Message::Status(Box::new(status)));
        assert_eq!(chosen(&app), "transactional");
        assert_eq!(app.history.len(), 2);
        app.hear(Message::Status(Box::default()));
        press(&mut app, KeyCode::Tab);
        assert_eq!(app.chosen_lane(), None);
        assert_eq!(press(&mut app, KeyCode::Char('p')), Action::None);
    }

    #[test]
    fn a_command_is_sent_after_a_y_only() {
        let mut app = app(true);
        press(&mut app, KeyCode::Char('p'));
        assert!(matches!(app.overlay, Overlay::Confirm(_)));
        assert_eq!(press(&mut app, KeyCode::Enter), Action::None);
        assert_eq!(app.overlay, Overlay::None);

        press(&mut app, KeyCode::Tab);
        press(&mut app, KeyCode::Char('r'));
        let expected =
            Command { verb: Verb::Resume, account: Text::new("main"), lane: Text::new("quote") };
        assert_eq!(press(&mut app, KeyCode::Char('y')), Action::Send(expected));
    }

    #[test]
    fn without_the_admin_key_it_says_what_to_set() {
        let mut app = app(false);
        assert_eq!(press(&mut app, KeyCode::Char('p')), Action::None);
        assert_eq!(app.overlay, Overlay::None);
        assert!(app.answer.unwrap().unwrap_err().as_str().contains("LANEKEEPER_ADMIN_KEY"));
    }

    #[test]
    fn the_last_hundred_notices_are_kept() {
        let mut app = app(false);
        for number in 0..250 {
            app.hear(Message::Notice(Notice {
                text: Text::new(&number.to_string()),
                ..Notice::default()
            }));
        }
        assert_eq!(app.notices.len(), 100);
        assert_eq!(app.notices.back().unwrap().text.as_str(), "249");
    }
}
