//! A trait of your own behind paced lanes, with only lanekeeper and the standard library.
//!
//! A weather service answers twenty calls in any second and refuses the others. A crowd of threads makes more calls
//! than that: once on the bare service, and once through the proxy that `#[proxy]` generates from the trait. The
//! program ends with an error if any statement that it prints does not hold.
//!
//! ```text
//! cargo run -p lanekeeper --no-default-features --example own_trait
//! ```
//!
//! The file can be copied unchanged into a crate that depends on `lanekeeper` with `default-features = false`.

use std::error::Error;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::lane::CallOptions;
use lanekeeper::proxy::Classify;
use lanekeeper::{ErrorClass, LaneConfig, LaneError, Quota, Sent};

/// The service, as the rest of the program sees it. The attribute generates `WeatherProxy<T>`, which implements
/// `Weather` in front of any `T: Weather`, and its builder.
#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    /// Returns the highest temperature of each of the next days.
    #[lane(general, read)]
    fn forecast(&self, city: &str, days: u8) -> Result<Vec<i8>, WeatherError>;

    /// Sends an alert and returns its number. Each alert costs money, so there is a budget.
    #[lane(alerts, write, priority = 1, budget = sms)]
    fn send_alert(&self, alert: &Alert) -> Result<u64, WeatherError>;

    /// Returns the temperature of tomorrow. It has a body and no lane: the proxy runs the body, so the call in it goes
    /// through its lane.
    fn tomorrow(&self, city: &str) -> Result<Option<i8>, WeatherError> {
        Ok(self.forecast(city, 1)?.pop())
    }

    /// Returns the name of the service. It needs no network and no lane, so it is `#[direct]`. A method with neither
    /// attribute does not compile.
    #[direct]
    fn name(&self) -> String;
}

/// The argument of an alert. A borrowed argument is cloned for the lane's worker.
#[derive(Debug, Clone)]
pub struct Alert {
    city: String,
    text: String,
}

/// The error of the service.
#[derive(Debug, Clone, PartialEq)]
pub enum WeatherError {
    /// The service refused a call because there were too many.
    TooFast,
    /// The lane returned an error instead of the service's answer. It includes whether the call was sent.
    Lane(LaneError),
}

/// The lane can reject a call. This converts its error to yours.
impl From<LaneError> for WeatherError {
    fn from(error: LaneError) -> Self {
        Self::Lane(error)
    }
}

/// Optional. It lets the lane distinguish failures that may be retried from those that may not.
impl Classify for WeatherError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::TooFast => ErrorClass::Throttled { retry_after: None },
            Self::Lane(error) => error.class(),
        }
    }
}

impl fmt::Display for WeatherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFast => f.write_str("the service says: too many requests"),
            Self::Lane(error) => error.fmt(f),
        }
    }
}

impl Error for WeatherError {}

const LIMIT: usize = 20;
const WINDOW: Duration = Duration::from_secs(1);
const ONE_WAY: Duration = Duration::from_millis(5);

/// The service and the network to it. It records when each call arrives, and counts strictly.
#[derive(Debug, Default)]
struct Service {
    arrivals: Mutex<Vec<Instant>>,
    alerts: Mutex<Vec<String>>,
    refused: AtomicUsize,
}

impl Service {
    /// Simulates a request and its answer. A client of a real service would send them here.
    fn request<R>(&self, answer: impl FnOnce() -> R) -> Result<R, WeatherError> {
        thread::sleep(ONE_WAY);
        let admitted = {
            let mut arrivals = self.arrivals.lock().unwrap_or_else(|broken| broken.into_inner());
            let now = Instant::now();
            let recent = arrivals.iter().filter(|came| now.duration_since(**came) < WINDOW).count();
            if recent < LIMIT {
                arrivals.push(now);
            }
            recent < LIMIT
        };
        let result = if admitted { Ok(answer()) } else { Err(WeatherError::TooFast) };
        self.refused.fetch_add(usize::from(!admitted), Ordering::Relaxed);
        thread::sleep(ONE_WAY);
        result
    }

    /// Returns how many calls it refused by its own count: a lane would retry a refused call.
    fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Weather for Service {
    fn forecast(&self, city: &str, days: u8) -> Result<Vec<i8>, WeatherError> {
        self.request(|| vec![20 + (city.len() % 10) as i8; days.into()])
    }

    fn send_alert(&self, alert: &Alert) -> Result<u64, WeatherError> {
        self.request(|| {
            let mut alerts = self.alerts.lock().unwrap_or_else(|broken| broken.into_inner());
            alerts.push(format!("{}: {}", alert.city, alert.text));
            alerts.len() as u64
        })
    }

    fn name(&self) -> String {
        "the service".to_owned()
    }
}

/// Code without any handling of limits: five calls from each of ten threads.
fn crowd(weather: &dyn Weather) -> Vec<Result<Option<i8>, WeatherError>> {
    let call = || (0..5).map(|_| weather.tomorrow("Pune")).collect::<Vec<_>>();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..10).map(|_| scope.spawn(call)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    // Bare: the calls after the first twenty of a second are refused.
    let bare = Service::default();
    let lost = crowd(&bare).iter().filter(|answer| answer.is_err()).count();
    println!("bare:         50 asked, {} refused", bare.refused());
    check(lost > 0 && lost == bare.refused(), "the bare crowd is refused")?;

    // One setter for each lane and each budget that the trait names. A lane without a quota is an error here rather
    // than a surprise later. The service counts all calls together, so the two lanes divide its limit.
    let weather = WeatherProxy::builder(Service::default())
        .general(LaneConfig::new(Quota::per_second(18)).in_flight(4))
        .alerts(Quota::per_second(2))
        .sms(Quota::per_minute(3))
        .build()?;

    // The same crowd, unchanged.
    let began = Instant::now();
    let paced = crowd(&weather);
    let refused = weather.inner().refused();
    println!("lanekeeper:   50 asked, {refused} refused, {:.1?}", began.elapsed());
    check(refused == 0, "the paced crowd is not refused")?;
    check(paced.len() == 50 && paced.iter().all(Result::is_ok), "every paced call is answered")?;
    // 50 calls at 18 a second: the last ones are sent after two windows.
    check(began.elapsed() >= 2 * WINDOW, "the quota is kept")?;

    // Without blocking: a ticket for the answer, which can be waited for, cancelled, and awaited.
    let user = weather.with(CallOptions::new().user("alpha"));
    let ticket = user.submit().forecast("Chennai", 3);
    println!("a ticket:     {:?}", ticket.wait()?);

    // Three alerts use up the budget of three a minute. The fourth gets an error at once, with the time at which it
    // could be sent, since it would wait for longer than its deadline.
    let hasty = weather.with(CallOptions::new().deadline(Duration::from_secs(5)));
    let storm = Alert { city: "Puri".to_owned(), text: "storm".to_owned() };
    for number in 1..=3 {
        check(hasty.send_alert(&storm)? == number, "alerts are sent in order")?;
    }
    match hasty.send_alert(&storm) {
        Err(WeatherError::Lane(error)) => {
            println!("the budget:   {error}");
            check(error.was_sent() == Sent::No, "what the lane refuses was not sent")?;
        }
        other => return Err(format!("a fourth alert came to {other:?}").into()),
    }
    let sent = weather.inner().alerts.lock().unwrap_or_else(|broken| broken.into_inner()).clone();
    check(sent == vec!["Puri: storm"; 3], "three alerts were sent, and no more")?;

    for lane in weather.status().lanes {
        println!(
            "lane {:8} {} of {} calls wait, quota {}",
            lane.lane, lane.queued, lane.capacity, lane.quota
        );
    }
    check(weather.inner().refused() == 0, "no call was refused")?;
    println!("{} never refused a call", weather.name());
    Ok(())
}

/// Returns an error that names the claim if it does not hold.
fn check(holds: bool, claim: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(format!("this did not hold: {claim}").into()) }
}
