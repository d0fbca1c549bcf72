//! The state of a gateway as plain text: one fact a line, the same words as on the screen.

use super::client::Address;
use super::model::{Account, Lane, Status, Window};
use super::shared::{summary, trouble};
use super::text::{rate, time, time_or_dash};

/// Writes a status. Lines of an account, a lane or a budget name it, so that `grep` finds them.
pub fn plain(address: &Address, status: &Status) -> String {
    let mut lines = Vec::new();
    let uptime = time_or_dash(status.uptime);
    let url = address.as_str();
    lines.push(format!(
        "lanekeeper {} at {url}: {}, up {uptime}",
        status.version,
        status.health.words()
    ));
    for account in &status.accounts {
        account_lines(account, &mut lines);
    }
    for client in &status.clients {
        let tier = client.tier.as_ref().map_or_else(String::new, |tier| format!(" ({tier})"));
        lines.push(format!(
            "client {}{tier}: {} waiting, {} requests, {} from the cache, {} refused",
            client.name, client.waiting, client.requests, client.from_cache, client.refused
        ));
    }
    if let Some(door) = &status.door {
        lines.push(format!(
            "door: {} connections, {} requests in progress, {} in all",
            door.connections, door.in_progress, door.requests
        ));
    }
    for scan in &status.scans {
        let left =
            scan.estimated_wait.map_or_else(String::new, |wait| format!(", {} left", time(wait)));
        lines.push(format!(
            "scan {}: {}, {} of {} done, {} failed{left}",
            scan.id,
            scan.state.words(),
            scan.done,
            scan.total,
            scan.failed
        ));
    }
    lines.join("\n") + "\n"
}

fn account_lines(account: &Account, lines: &mut Vec<String>) {
    let name = &account.name;
    let preset = account.preset.as_ref().map_or_else(String::new, |preset| format!(" ({preset})"));
    lines.push(format!(
        "account {name}{preset} to {}: {}",
        account.upstream,
        account.health.words()
    ));
    let shared = account.shared.as_ref();
    let said = shared.and_then(|shared| trouble(shared).or_else(|| summary(shared)));
    lines.extend(said.map(|said| format!("account {name}: {said}")));
    for lane in &account.lanes {
        lane_lines(name.as_str(), lane, lines);
    }
    for budget in &account.budgets {
        let windows = budget.windows.iter().map(window);
        lines.extend(windows.map(|window| format!("budget {name}/{}: {window}", budget.budget)));
    }
    if let Some(orders) = &account.orders {
        lines.push(format!(
            "orders {name}: {} placed, {} rejected, {} absent, {} unknown, {} found late, {} pending",
            orders.placed,
            orders.rejected,
            orders.absent,
            orders.unknown,
            orders.found_late,
            orders.pending
        ));
    }
    if let Some(quotes) = &account.quotes {
        lines.push(format!(
            "quotes {name}: {} hits, {} misses, {} joined, {} requests",
            quotes.hits, quotes.misses, quotes.joined, quotes.requests
        ));
    }
    if let Some(kept) = &account.kept {
        lines.push(format!(
            "answers {name}: {} hits, {} misses, {} joined, {} entries",
            kept.hits, kept.misses, kept.joined, kept.entries
        ));
    }
}

fn lane_lines(account: &str, lane: &Lane, lines: &mut Vec<String>) {
    let name = format!("lane {account}/{}", lane.lane);
    let paused_for =
        lane.paused_for.map_or_else(String::new, |time_left| format!(" for {}", time(time_left)));
    let breaker = lane
        .breaker
        .as_ref()
        .map_or_else(String::new, |breaker| format!(", breaker {}", breaker.words()));
    lines.push(format!("{name}: {}{paused_for}{breaker}", lane.state.words()));
    lines.push(format!(
        "{name}: {} calls/s of {}, {} answered, {} refused",
        rate(lane.calls_per_second.unwrap_or(0.0)),
        lane.quota,
        lane.answered,
        lane.refused
    ));
    lines.push(format!(
        "{name}: {} queued, oldest {}, estimated wait {}, {} in flight",
        lane.queued,
        time_or_dash(lane.oldest_wait),
        time_or_dash(lane.estimated_wait),
        lane.in_flight
    ));
    lines.extend(lane.windows.iter().map(|of| format!("{name}: {}", window(of))));
}

fn window(window: &Window) -> String {
    let resets =
        window.resets.map_or_else(String::new, |resets| format!(", resets in {}", time(resets)));
    let cut = if window.is_cut { ", cut" } else { "" };
    format!("{} of {} used in {}{cut}{resets}", window.used, window.limit, window.window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::{self, EXAMPLE};

    #[test]
    fn each_fact_is_a_line_that_names_its_subject() {
        let address = Address::parse("http://127.0.0.1:8800").unwrap();
        let text = plain(&address, &model::read(EXAMPLE).unwrap());
        for line in [
            "lanekeeper 0.1.0 at http://127.0.0.1:8800: limited, up 2 h 5 min",
            "account main (kite) to http://127.0.0.1:8080: limited",
            "lane main/transactional: running, breaker closed",
            "lane main/transactional: 9.7 calls/s of 10/s, 812 answered, 4 refused",
            "lane main/transactional: 3 queued, oldest 0.4 s, estimated wait 1.3 s, 2 in flight",
            "lane main/quote: paused for 12 s, breaker open",
            "lane main/historical: 1 of 3 used in 3/s, cut, resets in 0.6 s",
            "budget main/orders: 81 of 400 used in 400/min, resets in 52 s",
            "orders main: 80 placed, 2 rejected, 0 absent, 0 unknown, 1 found late, 0 pending",
            "client alpha (gold): 2 waiting, 120 requests, 40 from the cache, 0 refused",
            "scan s1: running, 9 of 50 done, 1 failed, 13 s left",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn a_shared_quota_says_how_it_is_shared() {
        let address = Address::parse("http://x").unwrap();
        let line = |mode: &str, processes: u64| {
            let shared = format!(r#"{{"mode":"{mode}","mode_for":42,"processes":{processes}}}"#);
            let status =
                format!(r#"{{"accounts":[{{"name":"main","health":"ok","shared":{shared}}}]}}"#);
            let text = plain(&address, &model::read(&status).unwrap());
            text.lines().nth(2).unwrap().to_owned()
        };
        for (mode, processes, expected) in [
            ("shared", 1, "shared quota"),
            ("shared", 3, "quota shared by 3 processes"),
            (
                "share",
                3,
                "Redis is away. For 42 s the gateway has kept to its share of the quota, one of 3. Calls wait for longer than usual.",
            ),
            (
                "stopped",
                0,
                "Redis is away. For 42 s only exits have been sent. Every other call waits.",
            ),
            (
                "returning",
                3,
                "Redis is back. It is told what was sent meanwhile. Then calls go on.",
            ),
            ("half_asleep", 3, "shared quota: half asleep"),
        ] {
            assert_eq!(line(mode, processes), format!("account main: {expected}"));
        }
    }

    #[test]
    fn an_empty_status_is_a_line() {
        let address = Address::parse("http://x").unwrap();
        assert_eq!(plain(&address, &Status::default()), "lanekeeper  at http://x: , up -\n");
    }
}
