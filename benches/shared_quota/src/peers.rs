//! Other limiters under the same load: three processes, each with more calls than it may send, and one strict exchange.
//!
//! The strict bound is what no client can exceed that counts a call until it is over: a limit in each window and mean call. Each
//! process is a set of threads here, with a limiter and connections of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Size;
use crate::broker::{Broker, Client, LIMIT, Observed, WINDOW};
use crate::contenders::{ALL, Call, Contender, PROCESSES};
use crate::server::Server;

/// By how much the clock of one process is ahead.
const AHEAD: Duration = Duration::from_secs(5);

pub fn run(server: &Server, size: Size) {
    println!(
        "\n{PROCESSES} processes of {} threads at an exchange of {LIMIT} calls in any {WINDOW:?}, counted at a random moment of \
         calls of 40 to 70 ms, over {:?}",
        size.strategies, size.peer
    );
    println!(
        "  {:<44} {:>6} {:>8} {:>9} {:>13}   of each process",
        "", "sent", "refused", "accepted", "of the bound"
    );
    for contender in &ALL {
        let clocks: &[Duration] = match contender.is_told_the_time {
            true => &[Duration::ZERO, AHEAD],
            false => &[Duration::ZERO],
        };
        for &ahead in clocks {
            let observed = observe(server, size, contender, ahead);
            print(contender, ahead, &observed);
        }
    }
}

fn print(contender: &Contender, ahead: Duration, observed: &Observed) {
    let accepted = observed.sent - observed.refused;
    let bound = f64::from(LIMIT) / (WINDOW + observed.mean_call()).as_secs_f64();
    let name = match ahead.is_zero() {
        true => contender.name.to_owned(),
        false => "  the clock of the third 5 s ahead".to_owned(),
    };
    println!(
        "  {name:<44} {:>6} {:>8} {accepted:>9} {:>11.1} %   {:?}",
        observed.sent,
        observed.refused,
        100.0 * observed.admitted_per_second() / bound,
        &observed.sent_by[..PROCESSES as usize],
    );
}

fn observe(server: &Server, size: Size, contender: &Contender, ahead: Duration) -> Observed {
    server.flush();
    let broker = Arc::new(Broker::default());
    let calls: Vec<Call> = (0..PROCESSES as usize)
        .map(|process| {
            let client = Client { broker: Arc::clone(&broker), process };
            let is_last = process + 1 == PROCESSES as usize;
            (contender.process)(server, client, if is_last { ahead } else { Duration::ZERO })
        })
        .collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for call in calls.iter().flat_map(|call| std::iter::repeat_n(call, size.strategies)) {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    call();
                }
            });
        }
        std::thread::sleep(size.warm_up);
        let observed = broker.observe(size.peer);
        is_over.store(true, Ordering::Relaxed);
        observed
    })
}
