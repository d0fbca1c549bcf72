//! What `lanekeeper exchange` prints: what is listed, each request, and the requests by route.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use lanekeeper::broker::{Broker, BrokerError, Instrument};
use lanekeeper::brokers::PaperBroker;
use lanekeeper::jiff::Timestamp;
use lanekeeper_simulator::Arrival;

/// How many instruments of a kind the start line names.
const SHOWN: usize = 6;
/// How much of a path the log shows, in characters.
const MAX_PATH: usize = 200;

/// Returns a line that says what is listed, real and synthetic instruments apart.
pub(crate) fn listed(broker: &PaperBroker, file: Option<&Path>) -> Result<String, BrokerError> {
    let listing = broker.instruments(None)?;
    let instruments = listing.iter().map(|info| &info.instrument);
    let (synthetic, real): (Vec<_>, Vec<_>) =
        instruments.partition(|instrument| broker.backend().is_synthetic(instrument));
    let origin = file.map_or("real".to_owned(), |path| format!("from {}", path.display()));
    let groups = [(origin, real), ("synthetic".to_owned(), synthetic)];
    let groups = groups.iter().filter(|(_, instruments)| !instruments.is_empty());
    let groups: Vec<String> = groups
        .map(|(origin, all)| format!("{} {origin} ({})", all.len(), first_names(all)))
        .collect();
    Ok(format!("listed: {}; GET /instruments has all", groups.join(" and ")))
}

/// Returns the first names, and two dots if there are more.
fn first_names(instruments: &[&Instrument]) -> String {
    let names: Vec<&str> = instruments.iter().take(SHOWN).map(|it| it.as_str()).collect();
    let more = if instruments.len() > SHOWN { ", .." } else { "" };
    format!("{}{more}", names.join(", "))
}

/// Writes a line about a request to standard error: time (UTC), method, path, lane, status, latency, fault. A dash is no
/// lane, or no status because a fault suppressed the response. There is no query, header or body, and so no secret.
pub(crate) fn log_request(arrival: &Arrival, latency: Duration) {
    let at = Timestamp::now().strftime("%FT%T.%3fZ");
    let status = arrival.status.map_or("-".to_owned(), |status| status.to_string());
    let fault = arrival.fault.map_or(String::new(), |fault| format!(" fault {fault}"));
    // A path is what the client sent: control characters are escaped, and it may be long.
    let path: String = arrival.path.escape_default().take(MAX_PATH).collect();
    // The exchange goes on if standard error is closed.
    let _ = writeln!(
        io::stderr(),
        "{at} {} {path} {} {status} {:.1}ms{fault}",
        arrival.method,
        arrival.lane.unwrap_or("-"),
        latency.as_secs_f64() * 1e3,
    );
}

/// Writes how often each route was requested, with the statuses of its responses.
pub(crate) fn write_routes(out: &mut impl Write, arrivals: &[Arrival]) -> io::Result<()> {
    let mut routes: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for arrival in arrivals {
        let route = arrival.route.map_or("no route".to_owned(), |route| route.to_string());
        let status =
            arrival.status.map_or("without an answer".to_owned(), |it| format!("with {it}"));
        *routes.entry(route).or_default().entry(status).or_default() += 1;
    }
    for (route, statuses) in routes {
        let counts: Vec<_> = statuses.iter().map(|(how, count)| format!("{count} {how}")).collect();
        writeln!(out, "{route}: {}", counts.join(", "))?;
    }
    Ok(())
}
