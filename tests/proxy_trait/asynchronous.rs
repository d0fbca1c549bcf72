//! Traits whose methods are asynchronous, in each form that is read.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use lanekeeper::clock::ManualClock;
use lanekeeper::lane::LaneConfig;
use lanekeeper::quota::Quota;
use lanekeeper::resilience::RetryPolicy;
use lanekeeper::{CallOptions, Priority};

use crate::{Alert, Failure, Result, ample};

/// Native `async fn`, and a future that is written by hand.
#[lanekeeper::proxy(delegate = crate::asynchronous::delegate_forecasts)]
pub trait Weather: Send + Sync {
    /// Borrows in ways in which a call that moves to another thread cannot.
    #[lane(general, read)]
    async fn forecast(&self, cities: &[&str], days: Option<&u8>, alert: &Alert) -> Result<Vec<i8>>;

    /// An owned argument is cloned for each attempt.
    #[lane(general, read)]
    async fn named(&self, name: String) -> Result<String>;

    /// Its argument is moved, since there is one attempt.
    #[lane(alerts, write, retry = never)]
    fn send(&self, alert: Once) -> impl Future<Output = Result<u64>> + Send;

    /// The default body of an asynchronous method.
    async fn tomorrow(&self, city: &str) -> Result<i8> {
        let alert = Alert { text: String::new() };
        let days = self.forecast(&[city], None, &alert).await?;
        days.first().copied().ok_or_else(|| Failure("no day".into()))
    }

    /// Goes around the lanes.
    #[direct]
    async fn site(&self) -> String;

    /// Is not asynchronous.
    #[direct]
    fn name(&self) -> String;

    /// A call that blocks, beside the others.
    #[lane(general, read)]
    fn blocking(&self) -> Result<u8>;
}

/// A value that cannot be cloned.
#[derive(Debug)]
pub struct Once(u64);

#[derive(Default)]
struct Client {
    calls: AtomicU32,
    cities: Mutex<Vec<String>>,
    /// How many calls fail before one succeeds.
    failures: AtomicU32,
}

impl Client {
    fn fail(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let left = self.failures.load(Ordering::SeqCst);
        if left == 0 {
            return Ok(());
        }
        self.failures.store(left - 1, Ordering::SeqCst);
        Err(Failure("lost".into()))
    }
}

impl Weather for Client {
    async fn forecast(&self, cities: &[&str], days: Option<&u8>, alert: &Alert) -> Result<Vec<i8>> {
        self.fail()?;
        self.cities.lock().unwrap().extend(cities.iter().map(ToString::to_string));
        let count = days.map_or(1, |days| usize::from(*days));
        Ok(vec![i8::try_from(alert.text.len()).unwrap_or(0); count])
    }

    async fn named(&self, name: String) -> Result<String> {
        self.fail()?;
        Ok(name)
    }

    async fn send(&self, alert: Once) -> Result<u64> {
        self.fail()?;
        Ok(alert.0)
    }

    async fn site(&self) -> String {
        "site".into()
    }

    fn name(&self) -> String {
        "client".into()
    }

    fn blocking(&self) -> Result<u8> {
        Ok(7)
    }
}

/// Polls a future to its end, without any runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}

fn is_send<T: Send>(future: T) -> T {
    future
}

fn proxy(client: Client) -> WeatherProxy<Client> {
    let retried = LaneConfig::new(ample()).retry(RetryPolicy::default());
    WeatherProxy::builder(client).general(retried).alerts(ample()).build().unwrap()
}

#[test]
fn a_call_borrows_its_arguments_and_runs_on_the_task_of_its_caller() {
    let weather = proxy(Client::default());
    let (city, alert) = (String::from("Pune"), Alert { text: "hot".into() });
    let cities = [&*city, "Agra"];
    let days = is_send(weather.forecast(&cities, Some(&2), &alert));
    assert_eq!(weather.inner().calls.load(Ordering::SeqCst), 0, "futures are lazy");
    assert_eq!(block_on(days).unwrap(), [3, 3]);
    assert_eq!(*weather.inner().cities.lock().unwrap(), ["Pune", "Agra"]);
    assert_eq!(weather.general_lane().status().windows[0].used, 1);
}

#[test]
fn a_default_body_goes_through_the_lanes() {
    let weather = proxy(Client::default());
    assert_eq!(block_on(is_send(weather.tomorrow("Pune"))), Ok(0));
    assert_eq!(weather.general_lane().status().windows[0].used, 1);
}

#[test]
fn an_argument_is_cloned_for_each_attempt_and_moved_if_there_is_one() {
    let weather = proxy(Client { failures: 1.into(), ..Client::default() });
    assert_eq!(block_on(weather.named("Asha".into())), Ok("Asha".into()));
    assert_eq!(weather.inner().calls.load(Ordering::SeqCst), 2);
    assert_eq!(block_on(is_send(weather.send(Once(4)))), Ok(4));
    assert_eq!(weather.alerts_lane().status().windows[0].used, 1);
}

#[test]
fn a_direct_call_waits_for_no_lane() {
    let weather = proxy(Client::default());
    assert_eq!((block_on(weather.site()), weather.name()), ("site".into(), "client".into()));
    assert_eq!(weather.general_lane().status().windows[0].used, 0);
}

#[test]
fn a_trait_may_have_calls_of_both_kinds() {
    let weather = proxy(Client::default());
    assert_eq!(weather.blocking(), Ok(7));
    assert_eq!(weather.submit().blocking().wait(), Ok(7));
    assert_eq!(weather.general_lane().status().windows[0].used, 2);
}

#[test]
fn pointers_and_decorators_forward_the_futures() {
    struct Decorator<W> {
        inner: W,
    }
    impl<W: Weather> Weather for Decorator<W> {
        delegate_forecasts! { to self.inner; except site }

        async fn site(&self) -> String {
            format!("decorated {}", self.inner.site().await)
        }
    }
    /// Its inner value is what a method returns.
    struct Behind<W> {
        inner: W,
    }
    impl<W> Behind<W> {
        fn inner(&self) -> &W {
            &self.inner
        }
    }
    impl<W: Weather> Weather for Behind<W> {
        delegate_forecasts! { to self.inner() }
    }
    let weather = Decorator { inner: Arc::new(Box::new(proxy(Client::default()))) };
    let weather = Behind { inner: weather };
    assert_eq!(block_on(is_send(Weather::tomorrow(&&weather, "Pune"))), Ok(0));
    assert_eq!(block_on(weather.site()), "decorated site");
}

#[test]
fn the_options_of_a_handle_hold_for_asynchronous_calls() {
    let clock = ManualClock::new();
    let once = Quota::per_hour(1);
    let built = WeatherProxy::builder(Client::default()).general(once).alerts(ample());
    let weather = built.clock(clock.clone()).build().unwrap();
    block_on(weather.named(String::new())).unwrap();
    let soon = weather.with(CallOptions::new().deadline(Duration::from_secs(1)));
    let error = block_on(soon.named(String::new())).unwrap_err();
    assert!(error.0.contains("deadline"), "{error:?}");
    assert_eq!(weather.inner().calls.load(Ordering::SeqCst), 1);
}

/// What `async_trait` writes, which can be a `dyn`.
#[async_trait]
#[lanekeeper::proxy]
pub trait Mail: Send + Sync {
    /// Sends a letter.
    #[lane(letters, write, budget = day)]
    async fn send(&self, to: &str, text: String) -> Result<u64>;

    /// Has a default body.
    async fn greet(&self, to: &str) -> Result<u64> {
        self.send(to, "hello".into()).await
    }

    /// Never answers.
    #[lane(letters, read)]
    async fn hang(&self) -> Result<()>;
}

struct Post(AtomicU32);

#[async_trait]
impl Mail for Post {
    async fn send(&self, to: &str, text: String) -> Result<u64> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok((to.len() + text.len()) as u64)
    }

    async fn hang(&self) -> Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        pending().await
    }
}

#[test]
fn a_boxed_future_goes_through_the_lanes_and_behind_a_dyn() {
    let post: Box<dyn Mail> = Box::new(Post(AtomicU32::new(0)));
    let mail = MailProxy::builder(post).letters(ample()).day(Quota::per_day(2)).build().unwrap();
    let shared: Arc<dyn Mail> = Arc::new(mail.clone());
    assert_eq!(block_on(is_send(shared.greet("Asha"))), Ok(9));
    let urgent = mail.with(CallOptions::new().priority(Priority::URGENT));
    assert_eq!(block_on(urgent.send("B", String::new())), Ok(1));
    let status = mail.status();
    assert_eq!((status.lanes[0].windows[0].used, status.budgets[0].windows[0].used), (2, 2));
}

#[test]
fn a_future_that_is_dropped_before_its_first_poll_is_no_call() {
    let mail = MailProxy::builder(Post(AtomicU32::new(0))).letters(ample()).day(ample());
    let mail = mail.build().unwrap();
    drop(mail.hang());
    assert_eq!(mail.letters_lane().status().windows[0].used, 0);
    let mut hangs = Box::pin(mail.hang());
    assert!(hangs.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(hangs);
    assert_eq!(
        (mail.inner().0.load(Ordering::SeqCst), mail.letters_lane().status().windows[0].used),
        (1, 1)
    );
}

#[test]
fn blocking_and_asynchronous_traits_share_lanes() {
    #[lanekeeper::proxy]
    trait Letters: Send + Sync {
        #[lane(letters, write, budget = day)]
        fn post(&self) -> Result<u8>;
    }
    struct Box_;
    impl Letters for Box_ {
        fn post(&self) -> Result<u8> {
            Ok(1)
        }
    }
    let mail = MailProxy::builder(Post(AtomicU32::new(0))).letters(ample()).day(Quota::per_day(3));
    let mail = mail.build().unwrap();
    let letters = LettersProxy::builder(Box_).lanes_of(&mail).build().unwrap();
    letters.post().unwrap();
    block_on(mail.greet("A")).unwrap();
    assert_eq!(mail.status().budgets[0].windows[0].used, 2);
    assert_eq!(letters.submit().post().wait(), Ok(1));
    assert_eq!(mail.letters_lane().status().windows[0].used, 3);
}

/// A safe, which is unlocked before it is read.
#[lanekeeper::proxy]
pub trait Vault: Send + Sync {
    /// With every form of an argument.
    #[lane(all, read, first = unlock)]
    async fn read(&self, key: &str, copies: Vec<u8>, hint: Option<&str>) -> Result<String>;

    /// With an argument that has the name of its key.
    #[lane(all, read, first = check)]
    async fn after(&self, first: String) -> Result<u8>;
}

impl<T: Vault + Send + Sync + 'static> VaultProxy<T> {
    async fn check(&self, first: &str) -> Result<()> {
        self.unlock(first, &[], None).await
    }

    async fn unlock(&self, key: &str, copies: &[u8], hint: Option<&str>) -> Result<()> {
        match key {
            "jammed" => Err(Failure(format!("jammed {copies:?} {hint:?}"))),
            "stuck" => pending().await,
            "slow" => {
                Box::pin(self.read("key", Vec::new(), None)).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[derive(Default)]
struct Safe(ManualClock);

impl Vault for Safe {
    async fn read(&self, key: &str, copies: Vec<u8>, hint: Option<&str>) -> Result<String> {
        self.0.advance(Duration::from_secs(2));
        Ok(format!("{key} {copies:?} {hint:?}"))
    }

    async fn after(&self, first: String) -> Result<u8> {
        Ok(u8::try_from(first.len()).unwrap())
    }
}

#[test]
fn what_a_call_needs_first_is_awaited_and_its_deadline_spans_both() {
    let clock = ManualClock::new();
    let vault = VaultProxy::builder(Safe(clock.clone())).all(ample()).clock(clock.clone());
    let vault = vault.build().unwrap();
    let read =
        |vault: &VaultProxy<Safe>, key| block_on(is_send(vault.read(key, vec![1], Some("hint"))));
    assert_eq!(block_on(vault.after("open".into())), Ok(4));
    assert!(block_on(vault.after("jammed".into())).is_err());
    assert_eq!(read(&vault, "open").unwrap(), "open [1] Some(\"hint\")");
    assert_eq!(read(&vault, "jammed"), Err(Failure("jammed [1] Some(\"hint\")".into())));
    let within = |limit| vault.with(CallOptions::new().deadline(Duration::from_secs(limit)));
    assert!(read(&within(3), "slow").is_ok());
    let error = read(&within(2), "slow").unwrap_err();
    assert!(error.0.contains("deadline"), "{error:?}");
    let hasty = within(4);
    let mut stuck = pin!(hasty.read("stuck", Vec::new(), None));
    assert!(stuck.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    clock.advance(Duration::from_secs(4));
    let error = block_on(stuck).unwrap_err();
    assert!(error.0.contains("deadline"), "{error:?}");
}
