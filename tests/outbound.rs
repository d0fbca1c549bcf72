//! The layer for outbound requests: which lane a request waits in, what the lane learns from its response, and what is never
//! sent.
#![cfg(all(feature = "tower", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{CallOptions, LaneConfig, LaneErrorKind, Priority};
use lanekeeper::outbound::{LaneLayer, LaneService, OutboundError};
use lanekeeper::proxy::{LaneCall, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::resilience::BreakerPolicy;
use lanekeeper::routes::RouteTable;
use lanekeeper::{Effect, ErrorClass, Sent};
use support::lanes::{SECOND, ms};
use tower::layer::Layer;
use tower::{Service, service_fn};

type Answer = Result<Response<&'static str>, OutboundError<&'static str>>;

type ServerAnswer = Result<Response<&'static str>, &'static str>;

type ResponseFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What the server got, and what it answers.
#[derive(Clone, Default)]
struct Server {
    paths: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<Vec<ServerAnswer>>>,
}

impl Server {
    fn will_answer(&self, status: u16, retry_after: Option<&str>) {
        let mut response = Response::builder().status(status);
        if let Some(retry_after) = retry_after {
            response = response.header("retry-after", retry_after);
        }
        self.answers.lock().unwrap().push(Ok(response.body("answer").unwrap()));
    }

    fn got(&self) -> Vec<String> {
        self.paths.lock().unwrap().clone()
    }

    fn answer(&self, request: &Request<String>) -> ServerAnswer {
        self.paths.lock().unwrap().push(request.uri().path().to_owned());
        self.answers.lock().unwrap().pop().unwrap_or_else(|| Ok(Response::new("answer")))
    }
}

fn lanes(clock: &ManualClock) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["orders", "data"], &["day"]);
    let breaker = BreakerPolicy::default().failures_in_a_row(Some(2));
    for lane in 0..2 {
        let config = LaneConfig::new(Quota::per_second(1)).in_flight(2);
        builder.lane(lane, config.breaker(breaker));
    }
    builder.budget(0, lanekeeper::Budget::new(Quota::per_day(100)));
    builder.clock(lanekeeper::Clock::from(clock.clone()));
    builder.build(Limits::new()).unwrap()
}

fn routes() -> RouteTable {
    RouteTable::new(LaneCall::read("data"), LaneCall::write("orders").budget("day"))
        .route("DELETE /orders/**", LaneCall::write("orders").exit())
        .unwrap()
}

type Task = support::tasks::Task<Answer>;

/// Returns the answer of a task, once it is woken.
fn answer(task: &mut Task) -> Answer {
    task.run()
}

/// A client with the layer, whose requests reach the server at once.
struct Client {
    call: Box<dyn FnMut(Request<String>) -> ResponseFuture>,
    server: Server,
    lanes: Lanes,
    clock: ManualClock,
}

impl Client {
    fn new() -> Self {
        let (clock, server) = (ManualClock::new(), Server::default());
        let lanes = lanes(&clock);
        let its = server.clone();
        let inner = service_fn(move |request: Request<String>| {
            let server = its.clone();
            async move { server.answer(&request) }
        });
        let mut service: LaneService<_> = LaneLayer::new(lanes.clone(), routes()).layer(inner);
        Self { call: Box::new(move |request| service.call(request)), server, lanes, clock }
    }

    fn send(&mut self, method: &str, path: &str) -> (Task, Poll<Answer>) {
        self.send_with(method, path, None)
    }

    fn send_with(
        &mut self,
        method: &str,
        path: &str,
        options: Option<CallOptions>,
    ) -> (Task, Poll<Answer>) {
        let uri = format!("https://api.example.com{path}");
        let mut request = Request::builder().method(method).uri(uri).body(String::new()).unwrap();
        if let Some(options) = options {
            request.extensions_mut().insert(options);
        }
        Task::begin((self.call)(request))
    }

    fn status_of(&mut self, method: &str, path: &str) -> u16 {
        match self.send(method, path).1 {
            Poll::Ready(Ok(response)) => response.status().as_u16(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_request_waits_in_the_lane_of_its_route() {
    let mut client = Client::new();
    assert_eq!(client.status_of("POST", "/orders"), 200);
    // The other lane has its own slot, and the budget counts writes alone.
    assert_eq!(client.status_of("GET", "/quote"), 200);
    let status = client.lanes.status();
    assert_eq!(status.budgets[0].windows[0].left, 99);
    let (mut waits, poll) = client.send("POST", "/orders");
    assert!(poll.is_pending());
    client.clock.advance(SECOND);
    assert!(answer(&mut waits).is_ok());
    assert_eq!(client.server.got(), ["/orders", "/quote", "/orders"]);
}

#[test]
fn an_exit_and_the_options_of_a_request_decide_who_is_next() {
    let mut client = Client::new();
    assert_eq!(client.status_of("POST", "/orders/a"), 200);
    let (mut bulk, _) = client.send("POST", "/orders/bulk");
    let urgent = CallOptions::new().priority(Priority::new(2).unwrap());
    let (mut soon, _) = client.send_with("POST", "/orders/soon", Some(urgent));
    let (mut exit, _) = client.send("DELETE", "/orders/exit");
    for task in [&mut exit, &mut soon, &mut bulk] {
        client.clock.advance(SECOND);
        assert!(answer(task).is_ok());
    }
    assert_eq!(client.server.got(), ["/orders/a", "/orders/exit", "/orders/soon", "/orders/bulk"]);
    // A deadline that cannot be kept is refused at once.
    assert_eq!(client.status_of("GET", "/quote"), 200);
    let late = CallOptions::new().deadline(ms(500));
    let Poll::Ready(Err(OutboundError::Lane(error))) =
        client.send_with("GET", "/quote", Some(late)).1
    else {
        panic!("it is refused");
    };
    assert!(matches!(error.kind, LaneErrorKind::TooLate { .. }), "{error:?}");
}

#[test]
fn what_cannot_be_looked_up_is_not_sent() {
    let mut client = Client::new();
    for path in ["/quote/../orders", "//orders", "/a%2e"] {
        let Poll::Ready(Err(error)) = client.send("GET", path).1 else { panic!("{path}") };
        assert!(matches!(error, OutboundError::Route(_)), "{error:?}");
        assert_eq!(error.was_sent(), Sent::No);
    }
    assert_eq!(client.server.got(), [""; 0]);
}

#[test]
fn a_429_pauses_the_lane_and_is_returned_and_not_repeated() {
    let mut client = Client::new();
    client.server.will_answer(429, Some("5"));
    assert_eq!(client.status_of("GET", "/quote"), 429);
    let (mut next, poll) = client.send("GET", "/quote");
    assert!(poll.is_pending());
    client.clock.advance(5 * SECOND - ms(1));
    assert!(next.poll().is_pending());
    assert_eq!(client.server.got().len(), 1);
    client.clock.advance(ms(1) + SECOND);
    assert!(answer(&mut next).is_ok());
}

#[test]
fn requests_without_a_response_open_the_breaker_and_responses_do_not() {
    for status in [Some(404), Some(500), Some(503), None] {
        let mut client = Client::new();
        for _ in 0..2 {
            match status {
                Some(status) => {
                    client.server.will_answer(status, None);
                    assert_eq!(client.status_of("GET", "/quote"), status);
                }
                None => {
                    client.server.answers.lock().unwrap().push(Err("connection reset"));
                    assert!(matches!(client.send("GET", "/quote").1, Poll::Ready(Err(_))));
                }
            }
            // A lost request may arrive within a second, as long as no response has shown how long one travels.
            client.clock.advance(2 * SECOND);
        }
        let deadline = CallOptions::new().deadline(SECOND);
        let answer = client.send_with("GET", "/quote", Some(deadline)).1;
        let is_refused = matches!(
            answer,
            Poll::Ready(Err(OutboundError::Lane(ref error)))
                if matches!(error.kind, LaneErrorKind::BrokerDown { .. })
        );
        assert_eq!(is_refused, status.is_none(), "{status:?}: {answer:?}");
        assert_eq!(client.server.got().len(), if is_refused { 2 } else { 3 });
    }
}

#[test]
fn an_error_of_the_client_is_returned_and_not_repeated() {
    let mut client = Client::new();
    client.server.answers.lock().unwrap().push(Err("connection reset"));
    let Poll::Ready(Err(error)) = client.send("GET", "/quote").1 else { panic!("it fails") };
    assert_eq!(error, OutboundError::Service("connection reset"));
    assert_eq!(error.was_sent(), Sent::Unknown);
    assert_eq!(client.server.got().len(), 1);
}

#[test]
fn a_response_future_that_is_dropped_while_it_waits_sends_nothing() {
    let mut client = Client::new();
    assert_eq!(client.status_of("POST", "/orders"), 200);
    let (task, poll) = client.send("POST", "/orders");
    assert!(poll.is_pending());
    drop(task);
    client.clock.advance(SECOND);
    assert_eq!(client.status_of("POST", "/orders/next"), 200);
    assert_eq!(client.server.got(), ["/orders", "/orders/next"]);
}

/// Is ready with its second poll, or fails to be.
#[derive(Clone)]
struct Slow {
    polls: Arc<AtomicUsize>,
    fails: bool,
}

impl Service<Request<String>> for Slow {
    type Response = Response<&'static str>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        context.waker().wake_by_ref();
        match (self.polls.fetch_add(1, Ordering::SeqCst), self.fails) {
            (0, _) => Poll::Pending,
            (_, true) => Poll::Ready(Err("shut")),
            (_, false) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        assert!(self.polls.load(Ordering::SeqCst) > 1, "it is called before it is ready");
        std::future::ready(Ok(Response::new("answer")))
    }
}

#[test]
fn the_client_is_called_once_it_is_ready() {
    for fails in [false, true] {
        let clock = ManualClock::new();
        let lanes = lanes(&clock);
        let slow = Slow { polls: Arc::default(), fails };
        let mut service = LaneLayer::new(lanes, routes()).layer(slow);
        let request = Request::get("https://api.example.com/quote").body(String::new()).unwrap();
        let mut task = Task::new(service.call(request));
        assert!(task.poll().is_pending());
        match (fails, answer(&mut task)) {
            (false, Ok(response)) => assert_eq!(response.status(), StatusCode::OK),
            (true, Err(error)) => {
                assert_eq!(error, OutboundError::NotReady("shut"));
                assert_eq!(error.was_sent(), Sent::No);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_judge_of_ones_own_decides_what_the_lane_learns() {
    let clock = ManualClock::new();
    let lanes = lanes(&clock);
    let layer = LaneLayer::new(lanes, routes()).judge(|effect, status, _| {
        assert_eq!(effect, Effect::Read);
        let pause = Duration::from_secs(9);
        (status == 420).then(|| ErrorClass::Throttled { retry_after: Some(pause) }.into())
    });
    let inner = service_fn(|_: Request<String>| async {
        Ok::<_, &str>(Response::builder().status(420).body("calm").unwrap())
    });
    let mut service = layer.layer(inner);
    let mut send = || {
        let request = Request::get("https://api.example.com/quote").body(String::new()).unwrap();
        Task::new(service.call(request))
    };
    assert!(send().poll().is_ready());
    let mut next = send();
    assert!(next.poll().is_pending());
    clock.advance(9 * SECOND - ms(1));
    assert!(next.poll().is_pending());
    clock.advance(SECOND);
    assert_eq!(answer(&mut next).unwrap().status(), 420);
}
