//! The documented limits of brokers: each figure on purpose, each with a source, and each a proxy.

use lanekeeper::broker::lanes;
use lanekeeper::presets;
use lanekeeper::{Limits, Quota};

/// Change a figure here and in its table of sources, or nowhere.
const FIGURES: [(&str, [&str; 4]); 6] = [
    ("kite", ["10/s", "1/s", "3/s", "400/min, 5000/day from midnight +05:30"]),
    ("alpaca", ["200/min", "150/min", "50/min", "unlimited"]),
    ("dhan", ["10/s, 250/min, 1000/h, 7000/day", "1/s", "5/s, 100000/day", "unlimited"]),
    (
        "upstox",
        [
            "10/s, 500/min, 2000/1800s",
            "10/s, 500/min, 2000/1800s",
            "10/s, 500/min, 2000/1800s",
            "unlimited",
        ],
    ),
    (
        "angel_one",
        ["1/s, 1000/h", "10/s, 500/min, 5000/h", "3/s, 500/min, 5000/h", "10/s, 500/min, 1000/h"],
    ),
    ("ibkr", ["30/s", "15/s", "5/2s, 60/600s", "unlimited"]),
];

fn quotas(limits: &Limits) -> [String; 4] {
    let of_lane = |lane: &str| limits.of_lane(lane).map(Quota::to_string).unwrap_or_default();
    let orders = limits.of_budget(lanes::ORDERS).map(|orders| orders.quota().to_string());
    let [transactional, quote, historical] = lanes::ALL.map(of_lane);
    [transactional, quote, historical, orders.unwrap_or_default()]
}

#[test]
fn the_figures_are_these() {
    for (name, figures) in FIGURES {
        let limits = presets::by_name(name).expect(name);
        assert_eq!(quotas(&limits), figures, "{name}");
        assert_eq!(limits.lanes().count() + limits.budgets().count(), 4, "{name}");
    }
    assert_eq!(presets::NAMES, FIGURES.map(|(name, _)| name));
    assert_eq!(presets::by_name("robinhood"), None);
}

#[test]
fn every_figure_has_a_source() {
    let source = include_str!("../src/presets.rs");
    for (name, figures) in FIGURES {
        let (before, _) = source.split_once(&format!("pub fn {name}()")).expect(name);
        let docs = before.rsplit_once("\n\n").expect("a blank line before").1;
        for (row, figure) in ["transactional", "quote", "historical", "orders"].iter().zip(figures)
        {
            let start = format!("/// | `{row}` |");
            let line = docs.lines().find(|line| line.starts_with(&start)).expect(name);
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            assert_eq!(cells[2].replace('`', ""), figure, "{name}, {row}");
            let (_, above) = docs.split_once("seen on ").expect("a day");
            let sourced =
                line.contains("https://") || line.contains("the same") || figure == "unlimited";
            assert!(sourced && above.contains("https://"), "{name}, {row}: no source");
        }
    }
}

/// Where lanes share one limit, at most this many calls in a second over all of them.
#[test]
fn what_lanes_share_is_divided() {
    let alpaca = presets::alpaca();
    let minute = |lane| alpaca.of_lane(lane).map_or(0, |quota| quota.windows()[0].limit);
    assert_eq!(minute(lanes::QUOTE) + minute(lanes::HISTORICAL), 200);
    let ibkr = presets::ibkr();
    let most =
        lanes::ALL.map(|lane| ibkr.of_lane(lane).map_or(0, |quota| quota.windows()[0].limit));
    assert_eq!(most.iter().sum::<u32>(), 50);
}

#[cfg(feature = "mock")]
#[test]
fn each_makes_a_proxy() {
    use lanekeeper::broker::{BrokerProxy, MockBroker};

    for name in presets::NAMES {
        let limits = presets::by_name(name).expect(name);
        let proxy = BrokerProxy::builder(MockBroker::new()).limits(limits).build();
        assert!(proxy.is_ok(), "{name}: {}", proxy.unwrap_err());
    }
}

#[cfg(feature = "kite")]
#[test]
fn the_adapter_documents_its_preset() {
    assert_eq!(lanekeeper::Kite::limits(), presets::kite());
}
