//! The `#[proxy]` attribute of lanekeeper.
//!
//! Use it through the crate `lanekeeper`, which holds what the generated code calls. The work goes
//! in two steps: `model` reads the trait and collects everything that is wrong with it;
//! `expand`, `builder`, `submit` and `forward` write code from what was read.

mod argument;
mod attributes;
mod builder;
mod errors;
mod expand;
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

/// Makes a paced proxy of a trait: for `Weather` the types `WeatherProxy<T>`, which implements
/// `Weather` on top of any `T: Weather`, `WeatherProxyBuilder<T>`, and `WeatherSubmit<T>` for calls
/// that are queued and not waited for.
///
/// ```
/// use lanekeeper::lane::LaneError;
/// use lanekeeper::quota::Quota;
///
/// #[derive(Debug)]
/// pub struct WeatherError(String);
///
/// // The lane can refuse a call: its queue is full, or it was closed.
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
/// // Queued at once; the answer is asked for later.
/// let ticket = weather.submit().send_alert("storm");
/// assert_eq!(ticket.wait().ok(), Some(1));
/// # Ok(())
/// # }
/// ```
///
/// # The methods
///
/// Each method takes `&self` and says how it is called:
///
/// - `#[lane(NAME, read)]` or `#[lane(NAME, write)]`: in the lane `NAME`, paced. `write` is for
///   calls that change something at the other end. The method returns a `Result` whose error is
///   `From<LaneError>`. Its arguments cross to another thread: owned values are moved, `&T`,
///   `&str`, `&[T]` and an `Option` of these are cloned and lent again over there. The builder
///   has a setter for each lane.
/// - `#[direct]`: straight to the inner value, unpaced, on the caller's thread.
/// - Neither, but a default body: the proxy runs that body, so what it calls goes through the
///   lanes.
/// - Neither, and no default body: does not compile. Nobody forgets the limiter.
///
/// A method with `where Self: Sized` and a body is left alone.
///
/// # Keys of a lane
///
/// After the lane's name, in any order:
///
/// - `read` or `write`: needed.
/// - `priority = 1`: from 1, which goes first, to 10. It is 5 if nothing is said.
/// - `budget = NAME`: a quota of its own that only the methods that name it are charged to, besides
///   their lane's. The builder has a setter for each budget. A method may name several, each with a
///   `budget` of its own.
/// - `weight = 2`: as how many calls this one counts. It is 1 if nothing is said.
/// - `exit`: the call gets its caller out, as the cancellation of an order does. It is always urgent
///   (priority 1, whatever the caller's options say), and so is never refused for the sake of other
///   calls: see `lanekeeper::lane::Priority::URGENT`.
/// - `route = NAME`: the calls among which a circuit breaker counts. One route that is out of order
///   does not stop the calls of another. The route of a method is `reads` or `writes` if nothing is
///   said.
/// - `retry = never`: the lane never makes the call again, and its arguments are not cloned.
///
/// # Keys of the attribute
///
/// - `#[proxy(limits = METHOD)]`: a method of the trait without a lane, which returns
///   `lanekeeper::quota::Limits`: what the other end documents. It counts for lanes that were not
///   given a quota in the builder.
///
/// - `#[proxy(session = METHOD)]`: a method of the trait without a lane, which returns an
///   `Option<lanekeeper::Session>`: the session that the calls are made in. While the broker does not take
///   its credentials, the lanes hold their calls. It counts if the builder was given none.
///
/// # What else it makes
///
/// The proxy has these functions of its own, so the trait can have none of these names:
///
/// - `builder`, to start with; `inner`, for what is behind it; `lanes`, `status` and `shutdown`, for
///   the lanes.
/// - `with`: the same proxy with other options for its calls. It still implements the trait.
/// - `submit`: the laned methods once more, with the same arguments. Instead of waiting they give a
///   `lanekeeper::proxy::Ticket` for the answer. If the trait is generic, so is this: say
///   `store.submit::<Key, Value>()` where the arguments do not tell.
///
/// `Arc<X>`, `Box<X>` and `&X` implement the trait if `X` does, so a proxy can be shared, boxed,
/// and put around a `Box<dyn Weather>`. They forward every method, provided ones too.
///
/// The proxy implements `Debug`, and `Clone` without `T: Clone`: clones share the lanes. If the
/// trait has other supertraits than these, `Send`, `Sync` and `'static`, implement them for the
/// proxy next to the trait.
#[proc_macro_attribute]
pub fn proxy(args: TokenStream, input: TokenStream) -> TokenStream {
    let item = match syn::parse::<Item>(input.clone()) {
        Ok(item) => item,
        Err(error) => {
            // What rustc says of the item itself is better than anything said here.
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
            quote!(#proxy #pointers)
        }
        Err(error) => error.into_compile_error(),
    };
    let mut out = item.into_token_stream();
    out.extend(generated);
    out.into()
}
