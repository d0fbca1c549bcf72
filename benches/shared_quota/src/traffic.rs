//! What lanes that share a quota ask of Redis: commands a second, and the share of one core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lanekeeper::{Quota, SharedQuota};

use crate::Size;
use crate::broker::{Broker, Client, Exchange, ExchangeProxy, LIMIT};
use crate::server::Server;

pub fn run(server: &Server, size: Size) {
    println!(
        "\nwhat lanes of {LIMIT} calls a second ask of Redis, over {} s; calls of 40 to 70 ms, {} threads a process",
        size.seconds.as_secs_f64(),
        size.strategies,
    );
    println!(
        "  {:<10} {:>9} {:>8} {:>8} {:>8} {:>19} {:>6}",
        "account", "processes", "calls/s", "refused", "trips/s", "commands/s in all", "core"
    );
    for (name, is_saturated) in [("idle", false), ("saturated", true)] {
        for processes in [1, 3, 8] {
            observe(server, size, name, is_saturated, processes);
        }
    }
}

/// The lanes of one process.
pub fn lanes(server: &Server, client: Client) -> ExchangeProxy<Client> {
    let shared = SharedQuota::redis(&server.url(), "account").unwrap();
    let quota = Quota::per_second(LIMIT);
    ExchangeProxy::builder(client).orders(quota).shared(shared).build().unwrap()
}

fn observe(server: &Server, size: Size, name: &str, is_saturated: bool, processes: usize) {
    server.flush();
    let broker = Arc::new(Broker::default());
    let client = |process| Client { broker: Arc::clone(&broker), process };
    let lanes: Vec<ExchangeProxy<Client>> =
        (0..processes).map(|process| lanes(server, client(process))).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads = if is_saturated { size.strategies } else { 0 };
        for lane in lanes.iter().flat_map(|lane| std::iter::repeat_n(lane, threads)) {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    lane.order().unwrap();
                }
            });
        }
        std::thread::sleep(size.warm_up);
        let before = server.counts();
        let observed = broker.observe(size.seconds);
        let after = server.counts();
        let seconds = size.seconds.as_secs_f64();
        let by = |name: &str| (after.number(name) - before.number(name)) / seconds;
        let calls = |name: &str| (after.command(name).0 - before.command(name).0) / seconds;
        let trips = ["evalsha", "eval", "ping"].map(calls).iter().sum::<f64>();
        println!(
            "  {name:<10} {processes:>9} {:>8.1} {:>8} {trips:>8.1} {:>19.1} {:>5.2} %",
            observed.admitted_per_second(),
            observed.refused,
            by("total_commands_processed"),
            100.0 * (after.processor() - before.processor()) / seconds,
        );
        is_over.store(true, Ordering::Relaxed);
    });
}
