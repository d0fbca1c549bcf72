//! Screens as text, at several sizes.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::Color;

use super::*;
use crate::top::client::Verb;
use crate::top::feed::Message;
use crate::top::model::{self, Client, EXAMPLE, Notice, Shared, Status};
use crate::top::text::Text;

/// A busy gateway, half a minute after the start.
fn app() -> App {
    let status: Status = model::read(EXAMPLE).unwrap();
    let mut app = App::new("http://127.0.0.1:8800", true, status.clone());
    app.hear(Message::Live);
    for second in 1..=30_u32 {
        app.now = Duration::from_secs(second.into());
        let mut status = status.clone();
        status.accounts[0].lanes[0].calls_per_second = Some(f64::from(second % 11));
        app.hear(Message::Status(Box::new(status)));
    }
    for (at, severity, text) in [
        ("2026-11-30T01:35:40Z", "info", "the lane goes on"),
        ("2026-11-30T01:35:53Z", "warning", "the broker refused a call: it comes too fast"),
    ] {
        let [at, severity, text, kind] = [at, severity, text, "resumed"].map(Text::new);
        let lane = Some(Text::new("historical"));
        app.hear(Message::Notice(Notice { at, severity, text, kind, lane, account: None }));
    }
    app
}

fn buffer(app: &App, width: u16, height: u16, palette: Palette) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app, palette)).unwrap();
    terminal.backend().buffer().clone()
}

/// Returns a screen without the spaces at the ends of its lines.
fn screen(app: &App, width: u16, height: u16) -> String {
    let buffer = buffer(app, width, height, Palette::new(true));
    let line =
        |cells: &[Cell]| cells.iter().map(Cell::symbol).collect::<String>().trim_end().to_owned();
    buffer.content().chunks(usize::from(width)).map(line).collect::<Vec<_>>().join("\n")
}

/// Asserts that two screens are the same, and shows the one that is if not.
fn assert_screen(found: &str, expected: &str) {
    assert!(found == expected.trim_matches('\n'), "the screen is\n{found}");
}

#[test]
fn a_screen_of_80_by_24_shows_everything_at_least_in_short() {
    assert_screen(
        &screen(&app(), 80, 24),
        "
lanekeeper 0.1.0  limited  live  up 2 h 5 min  http://127.0.0.1:8800  01:35:53Z
main  kite  to http://127.0.0.1:8080  limited
> transactional running    8.0/s of 10/s      queue 3    ▇██▁▂▃▄▄▅▆▆▇██▁▂▃▄▄▅▆▆▇
    10/s ███████░░░ 7/10 resets in 0.9 s
    breaker of order writes half open  oldest 0.4 s  estimated 1.3 s
    in flight 2/10  retrying 1  users alpha 2, beta 1  priorities 5: 2, 9: 1
    answered 812  refused 4
  quote         paused     0.0/s of 1/s       queue 0    breaker open ▁▁▁▁▁▁▁▁▁▁
    1/s ██████████ 1/1 full resets in 0.6 s
  historical    running    1.5/s of 3/s       queue 41   rate cut to 50 % ██████
    3/s ███░░░░░░░ 1/3 cut resets in 0.6 s
budgets  orders 400/min ██░░░░░░░░ 81/400 reserve 20 resets in 52 s
         5000/day ████████░░ 4100/5000 reserve 250 resets in 8 h 24 min
notices  01:35:53 warning  historical: the broker refused a call: it comes too
                           fast
orders   placed 80  rejected 2  absent 0  unknown 0  found late 1  pending 0
clients  name    tier       waiting  requests  refused   cached
         scanner bulk            41      3041        0       95
         and 2 more lines
scans    s1  running  █░░░░░░░░░ 9/50  failed 1  position 2  left 13 s
caches   quotes  hits 120  misses 3  joined 40  entries 6  requests 9
         answers  hits 1  misses 2  joined 0  entries 2  size 1024 KiB
door     connections 12  in progress 44  requests 3238
q end  Tab lane  p pause  r resume  ? help
",
    );
}

#[test]
fn a_tall_screen_shows_every_lane_in_full() {
    let screen = screen(&app(), 80, 40);
    for expected in [
        "    breaker open  resumes in 12 s  oldest -  estimated 12 s  in flight 0/3",
        "    rate cut to 50 %  oldest 14 s  estimated 27 s",
        "users scanner 41  priorities 1: 41",
        "         beta    -                1        77        4        0",
    ] {
        assert!(screen.contains(expected), "{expected:?} is not in\n{screen}");
    }
}

#[test]
fn a_wide_screen_has_the_panels_beside_the_lanes() {
    let screen = screen(&app(), 160, 20);
    let line = screen.lines().find(|line| line.starts_with("> transactional"));
    assert!(line.unwrap().contains("5000/day"), "{screen}");
}

#[test]
fn a_small_screen_keeps_the_lanes_and_what_is_wrong_with_them() {
    assert_screen(
        &screen(&app(), 60, 8),
        "
lanekeeper 0.1.0  limited  live  up 2 h 5 min
http://127.0.0.1:8800  01:35:53Z
main  kite  to http://127.0.0.1:8080  limited
> transactional running    8.0/s queue 3    ▄▅▆▆▇██▁▂▃▄▄▅▆▆▇
  quote         paused     0.0/s queue 0    breaker open ▁▁▁
  historical    running    1.5/s queue 41   ████████████████
budgets  orders 400/min ██░░░░░░░░ 81/400 reserve 20 resets
q end  Tab lane  p pause  r resume  ? help
",
    );
}

#[test]
fn no_size_is_too_small_and_no_status_too_empty_or_too_full() {
    let mut crowded = app();
    let mut status = crowded.status.clone();
    status.accounts = vec![status.accounts[0].clone(); 9];
    for (at, account) in status.accounts.iter_mut().enumerate() {
        account.name = Text::new(&format!("account-{at}"));
    }
    let client = Client { name: Text::new("日本のクライアント"), ..Client::default() };
    status.clients = vec![client; 300];
    crowded.hear(Message::Status(Box::new(status)));
    let empty = App::new("http://x", false, Status::default());
    let mut lost = app();
    lost.overlay = Overlay::Help;
    lost.hear(Message::Lost(Text::new("cannot reach it")));
    for app in [&crowded, &empty, &lost] {
        for width in [0, 1, 2, 9, 10, 17, 39, 79, 149, 150, 151, 300] {
            for height in 0..40 {
                buffer(app, width, height, Palette::new(true));
            }
        }
    }
}

#[test]
fn a_redis_that_is_away_is_a_line_below_the_account_on_every_screen() {
    let mut app = app();
    let mut status = app.status.clone();
    let mut share = |mode: &str, app: &mut App| {
        let mode = Text::new(mode);
        let shared = Shared { mode, mode_for: Some(125.0), processes: 3 };
        status.accounts[0].shared = Some(shared);
        app.hear(Message::Status(Box::new(status.clone())));
    };
    share("shared", &mut app);
    let wide = screen(&app, 100, 24);
    assert!(wide.contains("8080  limited  quota shared by 3 processes\n> trans"), "{wide}");
    share("stopped", &mut app);
    assert_screen(
        &screen(&app, 60, 9),
        "
lanekeeper 0.1.0  limited  live  up 2 h 5 min
http://127.0.0.1:8800  01:35:53Z
main  kite  to http://127.0.0.1:8080  limited
Redis is away. For 2 min 5 s only exits have been sent.
Every other call waits.
> transactional running    8.0/s queue 3    ▆▆▇██▁▂▃▄▄▅▆▆▇▇▇
  quote         paused     0.0/s queue 0    breaker open ▁▁▁
  historical    running    1.5/s queue 41   ████████████████
q end  Tab lane  p pause  r resume  ? help
",
    );
    let red = buffer(&app, 60, 9, Palette::new(true)).cell((0, 3)).map(|cell| cell.fg);
    assert_eq!(red, Some(Color::Red));
}

#[test]
fn the_chosen_lane_stays_on_the_screen() {
    let mut app = app();
    let mut status = app.status.clone();
    let lane = status.accounts[0].lanes[0].clone();
    status.accounts[0].lanes = (0..50)
        .map(|number| {
            let mut lane = lane.clone();
            lane.lane = Text::new(&format!("lane-{number}"));
            lane
        })
        .collect();
    app.hear(Message::Status(Box::new(status)));
    for number in 0..50 {
        let screen = screen(&app, 80, 24);
        assert!(screen.contains(&format!("> lane-{number} ")), "{number}\n{screen}");
        let key = ratatui::crossterm::event::KeyCode::Down;
        app.press(key.into());
    }
}

#[test]
fn the_header_says_whether_the_numbers_are_new() {
    let mut app = app();
    let header = |app: &App| screen(app, 80, 24).lines().take(3).collect::<Vec<_>>().join("\n");
    assert!(header(&app).contains("  live  "), "{}", header(&app));
    app.now += Duration::from_secs(5);
    assert!(header(&app).contains("live, 5.0 s old"), "{}", header(&app));
    app.hear(Message::Lost(Text::new("the gateway ended the stream")));
    assert!(header(&app).contains("reconnecting, 5.0 s old"), "{}", header(&app));
    assert!(header(&app).ends_with("\nthe gateway ended the stream"), "{}", header(&app));
}

#[test]
fn a_command_is_asked_about_and_its_end_is_said() {
    let mut app = app();
    let last = |app: &App| screen(app, 80, 24).lines().last().unwrap().to_owned();
    let [account, lane] = ["main", "quote"].map(Text::new);
    app.overlay = Overlay::Confirm(Command { verb: Verb::Pause, account, lane });
    assert_eq!(last(&app), "pause the lane quote of main? y: yes, any other key: no");
    // Also where there is room for nothing else.
    assert!(screen(&app, 30, 2).ends_with("y: yes, any other key: no"), "{}", screen(&app, 30, 2));
    app.overlay = Overlay::None;
    app.hear(Message::Answer(Err(Text::new("refused with 403: not with this key"))));
    assert_eq!(last(&app), "refused with 403: not with this key");
}

#[test]
fn the_help_names_every_key() {
    let mut app = app();
    app.overlay = Overlay::Help;
    let screen = screen(&app, 80, 24);
    for line in HELP {
        assert!(screen.contains(line), "{line:?} is not in\n{screen}");
    }
}

#[test]
fn what_a_client_calls_itself_cannot_command_the_terminal() {
    let mut app = app();
    let mut status = app.status.clone();
    let hostile = Text::new("\u{1b}[2J\u{9b}31m\u{7}\r\n\u{202e}x");
    status.clients = vec![Client { name: hostile.clone(), ..Client::default() }];
    status.accounts[0].lanes[0].queued_by_user = [(hostile.clone(), 1)].into();
    app.hear(Message::Status(Box::new(status)));
    app.hear(Message::Notice(Notice { text: hostile.clone(), ..Notice::default() }));
    app.hear(Message::Lost(hostile));
    let cells = buffer(&app, 80, 40, Palette::new(true));
    let commands = |cell: &&Cell| cell.symbol().chars().any(|c| c.is_control() || c == '\u{202e}');
    assert_eq!(cells.content().iter().find(commands), None);
    let screen = screen(&app, 80, 40);
    assert_eq!(screen.matches("�[2J�31m����x").count(), 4, "{screen}");
}

#[test]
fn no_color_means_no_colour_and_the_words_are_the_same() {
    let [with, without] = [true, false].map(|on| buffer(&app(), 80, 24, Palette::new(on)));
    let colours = |buffer: &Buffer| {
        let is_coloured = |cell: &&Cell| cell.fg != Color::Reset || cell.bg != Color::Reset;
        buffer.content().iter().filter(is_coloured).count()
    };
    assert_eq!(colours(&without), 0);
    assert!(colours(&with) > 0);
    let symbols = |buffer: &Buffer| buffer.content().iter().map(Cell::symbol).collect::<String>();
    assert_eq!(symbols(&with), symbols(&without));
}
