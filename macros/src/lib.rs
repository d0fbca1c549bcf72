//! The `#[proxy]` attribute of lanekeeper.
//!
//! Use it through the crate `lanekeeper`, which has the functions that the generated code calls. The work has
//! two steps: `model` reads the trait and collects all errors in it. Then
//! `expand`, `builder`, `submit`, `pointers` and `delegate` write code from the model.

mod argument;
mod asynchronous;
mod attributes;
mod builder;
mod cache_attr;
mod cached_method;
mod delegate;
mod errors;
mod expand;
mod future;
mod lane_attr;
mod lane_method;
mod method;
mod model;
mod names;
mod pointers;
mod proxy_attr;
mod submit;

use proc_macro::TokenStream;
use quote::{ToTokens, quote};
use syn::Item;

/// Writes a paced proxy for a trait. For `Weather` these are the types `WeatherProxy<T>`, which implements
/// `Weather` on top of any `T: Weather`, `WeatherProxyBuilder<T>`, and `WeatherSubmit<T>`, whose methods queue a call
/// and return at once.
///
/// ```
/// use lanekeeper::lane::LaneError;
/// use lanekeeper::quota::Quota;
///
/// #[derive(Debug)]
/// pub struct WeatherError(String);
///
/// // The lane can refuse a call, for example because its queue is full or because it was closed.
/// impl From<LaneError> for WeatherError {
///     fn from(refused: LaneError) -> Self {
///         Self(refused.to_string())
///     }
/// }
///
/// #[lanekeeper::proxy]
/// pub trait Weather: Send + Sync {
///     /// The temperatures of the next days.
///     #[lane(general, read)]
///     fn forecast(&self, city: &str, days: u8) -> Result<Vec<i8>, WeatherError>;
///
///     #[lane(alerts, write, priority = 1, budget = sms)]
///     fn send_alert(&self, text: &str) -> Result<u64, WeatherError>;
///
///     fn tomorrow(&self, city: &str) -> Result<Option<i8>, WeatherError> {
///         Ok(self.forecast(city, 1)?.pop())
///     }
///
///     #[direct]
///     fn name(&self) -> String;
/// }
///
/// # struct Client;
/// # impl Weather for Client {
/// #     fn forecast(&self, _: &str, days: u8) -> Result<Vec<i8>, WeatherError> {
/// #         Ok(vec![21; days.into()])
/// #     }
/// #     fn send_alert(&self, _: &str) -> Result<u64, WeatherError> {
/// #         Ok(1)
/// #     }
/// #     fn name(&self) -> String {
/// #         "client".into()
/// #     }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = Client;
/// let weather = WeatherProxy::builder(client)
///     .general(Quota::per_second(10))
///     .alerts(Quota::per_minute(20))
///     .sms(Quota::per_minute(5))
///     .build()?;
/// assert_eq!(weather.tomorrow("Pune").ok(), Some(Some(21)));
///
/// // Queues the call and returns. The answer is awaited later.
/// let ticket = weather.submit().send_alert("storm");
/// assert_eq!(ticket.wait().ok(), Some(1));
/// # Ok(())
/// # }
/// ```
///
/// # The methods
///
/// Each method takes `&self`, and its attribute determines how the proxy calls it:
///
/// - `#[lane(NAME, read)]` or `#[lane(NAME, write)]`: in the lane `NAME`, paced. `write` is for
///   calls that change something at the broker. The method returns a `Result` whose error is
///   `From<LaneError>`. Its arguments are transferred to another thread: owned values are moved. `&T`,
///   `&str`, `&[T]` and an `Option` of these are cloned, and the clone is borrowed there. The builder
///   has a setter for each lane.
/// - `#[direct]`: on the inner value, unpaced, on the caller's thread.
/// - Neither, but a default body: the proxy runs that body, so the methods that it calls go through the
///   lanes.
/// - Neither, and no default body: a compile error, so that no method is left unpaced by mistake.
///
/// A method with `where Self: Sized` and a body is left out.
///
/// # Asynchronous methods
///
/// A method may be an `async fn`, or return an `impl Future<Output = ..> + Send`, or be what `#[async_trait]` makes of an
/// `async fn`; put that attribute above this one. The caller's task waits for its turn, and then polls its own future:
/// no thread of the lanes runs the call, any executor will do, and the arguments may borrow what they like but `&mut`.
/// `lanekeeper::proxy::Lanes::run` says what happens if the future is dropped.
///
/// - An `async fn` is rewritten to a function that returns `impl Future + Send`. Implementors write `async fn` all the same. Such a
///   trait cannot be a `dyn`. With `#[async_trait]` it can.
/// - An attempt has its arguments by `Clone`, as long as the lane may repeat the call. With `retry = never` they are moved.
/// - `submit` has no such methods: a ticket has no task that would make the call.
/// - `first = METHOD` names an asynchronous method of the proxy that returns `Result<(), E>`. The deadline of the call spans it.
/// - A trait may have methods of both kinds, in the same lanes.
///
/// ```
/// use lanekeeper::lane::LaneError;
/// use lanekeeper::quota::Quota;
///
/// #[derive(Debug)]
/// pub struct WeatherError(String);
///
/// impl From<LaneError> for WeatherError {
///     fn from(refused: LaneError) -> Self {
///         Self(refused.to_string())
///     }
/// }
///
/// #[lanekeeper::proxy]
/// pub trait Weather: Send + Sync {
///     #[lane(general, read)]
///     async fn forecast(&self, city: &str) -> Result<i8, WeatherError>;
/// }
///
/// struct Client;
///
/// impl Weather for Client {
///     async fn forecast(&self, city: &str) -> Result<i8, WeatherError> {
///         Ok(city.len() as i8)
///     }
/// }
///
/// # fn block_on<T>(future: impl Future<Output = T>) -> T {
/// #     let mut future = std::pin::pin!(future);
/// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// #     loop {
/// #         if let std::task::Poll::Ready(answer) = future.as_mut().poll(&mut context) {
/// #             return answer;
/// #         }
/// #     }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let weather = WeatherProxy::builder(Client).general(Quota::per_second(10)).build()?;
/// # block_on(async {
/// assert_eq!(weather.forecast("Pune").await.ok(), Some(4));
/// # });
/// # Ok(())
/// # }
/// ```
///
/// # Keys of a lane
///
/// After the lane's name, in any order:
///
/// - `read` or `write`: needed.
/// - `priority = 1`: from 1, which is sent first, to 10. The default is 5.
/// - `budget = NAME`: a quota beside the lane's, to which only the methods that name it are
///   charged. The builder has a setter for each budget. A method may name several, each with a
///   `budget` key of its own.
/// - `weight = 2`: how many calls this one counts as. The default is 1.
/// - `exit`: the call reduces the caller's risk, as the cancellation of an order does. It is always urgent
///   (priority 1, whatever the caller's options say), and so is never refused to protect other
///   calls. See `lanekeeper::lane::Priority::URGENT`.
/// - `route = NAME`: the route class, which has a circuit breaker of its own. A route that fails
///   does not stop the calls of another. The default is `reads` or `writes`.
/// - `first = METHOD`: a method of the proxy itself, which you write in an `impl` of it beside the trait. It takes the
///   arguments of the call, owned ones by reference. It must not block. It returns an `Option` of a
///   `lanekeeper::proxy::Prerequisite`: another call that must succeed before this one is queued, or `None`. A call
///   that is submitted for a ticket waits for nothing.
/// - `cache = "1h"`: the answers are kept for that long, counted from when the request is sent, by the arguments of the
///   call. Times are `"500ms"`, `"30s"`, `"15min"`, `"12h"`, `"1day"`. `cache = off` keeps none, unless the builder's
///   `response_ttl(METHOD, TIME)` says for how long. The owned form of each argument is `Clone + Hash + Eq + Send + Sync`,
///   and the value and the error are `Clone + Send + Sync`. Only for a `read`. Needs the feature `responses`, except
///   `cache = off`, which has no effect without it. The chapter "Response cache" of the book says who waits for whom.
/// - `cache_for = METHOD`: a method of the proxy, like that of `first`, which returns an `Option<Duration>`: for how long
///   the answer to this call may be kept, or `None` if it may not. The shorter of this and `cache` counts.
/// - `retry = never`: the lane never repeats the call, and its arguments are not cloned.
///
/// # Keys of the attribute
///
/// - `#[proxy(limits = METHOD)]`: a method of the trait without a lane, which returns
///   `lanekeeper::quota::Limits`: what the broker documents. They apply to lanes and budgets without a
///   quota in the builder.
///
/// - `#[proxy(session = METHOD)]`: a method of the trait without a lane, which returns an
///   `Option<lanekeeper::Session>`: the session that the calls are made in. While the broker does not accept
///   its credentials, the lanes hold their calls. The builder's `session` replaces it.
///
/// - `#[proxy(reported = METHOD)]`: a method of the trait without a lane, which returns an
///   `Option<lanekeeper::ReportedLimits>`: where the adapter reports how many more calls the broker takes by its own
///   count. The lanes keep to it beside their quotas. The builder's `reported_limits` replaces it.
///
/// - `#[proxy(delegate = crate::MODULE::NAME)]`: writes a macro `NAME!` that forwards the methods of the trait, for
///   decorators (see `lanekeeper::delegate_broker!`). `crate::MODULE` is the module of the trait. In the signatures,
///   a name that is not in the prelude must be public in that module, or be written with a path that begins with
///   `crate::` or `::`. The macro of a `pub` trait is exported at the root of its crate.
///
/// - `#[proxy(asynchronous = TRAIT)]`: writes the asynchronous form of the trait too, with the same methods, lanes and default
///   bodies. Its methods with a lane, and those with a default body, are asynchronous. In a default body, calls of such methods of
///   `self` are awaited. It is written through `async_trait`, so it can be a `dyn`, and has a proxy, `TRAITProxy`. Beside it stands
///   `ImmediateX` for a trait `X`: it makes the asynchronous form of an implementor whose calls return at once. What is named by
///   `first` and `cache_for` has to be a method of both proxies. Needs the feature `async`; without it nothing is written.
///   `asynchronous_delegate = crate::MODULE::NAME` is `delegate` for it. `lanekeeper::AsyncBroker` is written so.
///
/// # Other items
///
/// The proxy has these methods, so the trait cannot have methods of these names:
///
/// - `builder`, which returns the builder; `inner`, which returns the inner value; `lanes`, `status` and
///   `shutdown`, for the lanes; `responses`, for the kept answers, if a method has `cache`.
/// - `NAME_lane` for each lane, as in `weather.alerts_lane()`: returns the `lanekeeper::lane::Lane`, for example to
///   pause it or to change its quota.
/// - `with`: returns the same proxy with other options for its calls. It still implements the trait.
/// - `submit`: returns the methods with a lane in another form, with the same arguments. Instead of waiting they
///   return a `lanekeeper::Ticket` for the answer. If the trait is generic, so is this: write
///   `store.submit::<Key, Value>()` if the arguments do not determine the types.
///
/// `Arc<X>`, `Box<X>` and `&X` implement the trait if `X` does, so a proxy can be shared, boxed,
/// and put in front of a `Box<dyn Weather>`. They forward every method, provided ones too.
///
/// The proxy implements `Debug`, and `Clone` without `T: Clone`: clones share the lanes. If the
/// trait has other supertraits than these, `Send`, `Sync` and `'static`, implement them for the
/// proxy next to the trait.
#[proc_macro_attribute]
pub fn proxy(args: TokenStream, input: TokenStream) -> TokenStream {
    let item = match syn::parse::<Item>(input.clone()) {
        Ok(item) => item,
        Err(error) => {
            // The errors of rustc about the item itself are better than any reported here.
            let mut out = TokenStream::from(error.into_compile_error());
            out.extend(input);
            return out;
        }
    };
    let Item::Trait(item) = item else {
        let error = errors::not_a_trait(&item).into_compile_error();
        return quote!(#item #error).into();
    };
    let (item, model) = model::read(args.into(), item);
    let generated = match model {
        Ok(model) => {
            let proxy = expand::proxy(&model);
            let pointers = pointers::pointer_impls(&model);
            let delegate = delegate::declaration(&model);
            let asynchronous = &model.asynchronous;
            quote!(#proxy #pointers #delegate #asynchronous)
        }
        Err(error) => error.into_compile_error(),
    };
    let mut out = item.into_token_stream();
    out.extend(generated);
    out.into()
}
