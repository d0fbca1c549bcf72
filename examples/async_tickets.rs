//! Calls without a blocked thread: tickets that are awaited, on tokio and on a ten-line executor.
//!
//! A ticket is a plain `Future`. It needs no particular runtime: a worker of the lane executes the call and wakes the
//! task that awaits the ticket. The program ends with an error if any statement that it prints does not hold.
//!
//! ```text
//! cargo run --features paper --example async_tickets
//! ```

use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use lanekeeper::broker::{Margins, Partial};
use lanekeeper::lane::{CallOptions, Priority, Ticket};
use lanekeeper::{
    Broker, BrokerError, BrokerProxy, Instrument, OrderRequest, PaperBroker, Quota, Side,
};

type Account = BrokerProxy<PaperBroker>;
type MarginsTicket = Ticket<Partial<Margins>, BrokerError>;

fn main() -> Result<(), Box<dyn Error>> {
    // Ten calls in any quarter of a second, so that calls have to wait.
    let broker = BrokerProxy::builder(PaperBroker::builder().build()?)
        .transactional(Quota::new(10, Duration::from_millis(250)))
        .build()?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(many_at_once(&broker))?;
    runtime.block_on(not_for_ever(&broker))?;
    block_on(an_urgent_order(&broker))
}

/// Runs forty tasks on one thread. Each awaits its own answer, and no thread is blocked.
async fn many_at_once(broker: &Account) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..40).map(|_| tokio::spawn(broker.submit().margins())).collect();
    for task in tasks {
        let margins = task.await??;
        check(margins.segment("equity").is_some(), "every task gets its own answer")?;
    }
    println!(
        "tokio:        40 tasks on one thread, {:.1?} at ten each quarter of a second",
        began.elapsed()
    );
    // The first ten are sent at once, and the last ten after three quarters of a second.
    check(began.elapsed() >= Duration::from_millis(750), "the quota is kept")
}

/// Times out on the executor, which drops the ticket. That cancels a read that is still queued, and the read uses no
/// quota. A write would go on.
async fn not_for_ever(broker: &Account) -> Result<(), Box<dyn Error>> {
    // Paused, so that all of these calls certainly wait.
    broker.transactional_lane().pause();
    let queue: Vec<MarginsTicket> = (0..20).map(|_| broker.submit().margins()).collect();
    let impatient = broker.submit().margins();
    check(impatient.position() == Some(20), "twenty calls are ahead of the next")?;
    let answer = tokio::time::timeout(Duration::from_millis(1), impatient).await;
    check(answer.is_err(), "the executor's time-out ends the wait")?;
    check(broker.transactional_lane().queued() == 20, "a dropped read is cancelled")?;

    // An explicit cancellation returns true if the call was not sent and never will be.
    let last = queue.last().ok_or("the queue has twenty")?;
    check(last.cancel(), "a queued call can be cancelled")?;
    broker.transactional_lane().resume();
    let mut sent = 0;
    for ticket in queue {
        sent += usize::from(ticket.await.is_ok());
    }
    println!("cancelled:    {sent} of 21 were sent");
    check(sent == 19, "all others are answered")
}

/// Places an urgent order, which overtakes the queued reads.
async fn an_urgent_order(broker: &Account) -> Result<(), Box<dyn Error>> {
    broker.transactional_lane().pause();
    let reads: Vec<MarginsTicket> = (0..20).map(|_| broker.submit().margins()).collect();
    let urgent = broker.with(CallOptions::new().priority(Priority::URGENT));
    let yes = Instrument::new("NSE", "YESBANK");
    let order = urgent.submit().place_order(&OrderRequest::market(yes, Side::Buy, 10));
    check(order.position() == Some(0), "nothing goes before an urgent call")?;
    check(reads.last().and_then(Ticket::position) == Some(20), "and the reads moved back")?;
    broker.transactional_lane().resume();
    let id = order.await?;
    println!("an executor:  order {id} was sent before 20 reads that were submitted earlier");
    for read in reads {
        read.await?;
    }
    check(broker.order(&id)?.id == id, "the order is in the book")
}

/// Runs a future to its end with a waker that unparks this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Returns an error that names the claim if it does not hold.
fn check(holds: bool, claim: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(format!("this did not hold: {claim}").into()) }
}
