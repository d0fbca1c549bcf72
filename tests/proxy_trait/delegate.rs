//! The macro that forwards the methods of a decorator.

use lanekeeper::Quota;
use lanekeeper::lane::LaneError;

/// A weather service.
#[lanekeeper::proxy(delegate = crate::delegate::delegate_weather)]
pub trait Weather: Send + Sync {
    /// The weather of the next days.
    #[lane(general, read)]
    fn forecast(&self, city: &str, days: u8) -> Result<Vec<String>, LaneError>;

    /// Stands for a method that is added to the trait after its decorators were written.
    fn tomorrow(&self, city: &str) -> Result<Option<String>, LaneError> {
        Ok(self.forecast(city, 1)?.pop())
    }

    /// A name for the service.
    #[direct]
    fn label<'a>(&self, prefix: Option<&'a str>) -> Label<'a>;
}

/// A prefix and a name.
#[derive(Debug)]
pub struct Label<'a>(Option<&'a str>, &'static str);

struct Client;

impl Weather for Client {
    fn forecast(&self, city: &str, days: u8) -> Result<Vec<String>, LaneError> {
        Ok((0..days).map(|day| format!("{city} {day}")).collect())
    }

    fn tomorrow(&self, city: &str) -> Result<Option<String>, LaneError> {
        Ok(Some(format!("{city} by the client itself")))
    }

    fn label<'a>(&self, prefix: Option<&'a str>) -> Label<'a> {
        Label(prefix, "client")
    }
}

/// A module that imports nothing but the trait, so the macro must know its types.
mod decorators {
    use super::{LaneError, Weather};

    /// Overrides nothing.
    pub(super) struct Plain<W>(pub(super) Holder<W>);

    pub(super) struct Holder<W> {
        pub(super) inner: W,
    }

    impl<W> Plain<W> {
        fn inner(&self) -> &W {
            &self.0.inner
        }
    }

    impl<W: Weather> Weather for Plain<W> {
        super::delegate_weather! { to self.inner() }
    }

    /// Overrides the forecast.
    pub(super) struct Renamed<W> {
        pub(super) inner: W,
    }

    impl<W: Weather> Weather for Renamed<W> {
        super::delegate_weather! { to self.inner; except forecast, }

        fn forecast(&self, _: &str, days: u8) -> Result<Vec<String>, LaneError> {
            self.inner.forecast("Pune", days)
        }
    }
}

use decorators::{Holder, Plain, Renamed};

#[test]
fn every_method_is_forwarded_the_provided_ones_too() {
    let plain = Plain(Holder { inner: Client });
    assert_eq!(plain.forecast("Goa", 2).unwrap(), ["Goa 0", "Goa 1"]);
    assert_eq!(plain.tomorrow("Goa").unwrap().unwrap(), "Goa by the client itself");
    let Label(prefix, name) = plain.label(Some("x"));
    assert_eq!((prefix, name), (Some("x"), "client"));
}

#[test]
fn the_methods_after_except_are_the_decorators_own() {
    let renamed = Renamed { inner: Box::new(Client) as Box<dyn Weather> };
    assert_eq!(renamed.forecast("Goa", 1).unwrap(), ["Pune 0"]);
    assert_eq!(renamed.tomorrow("Goa").unwrap().unwrap(), "Goa by the client itself");
}

#[test]
fn each_lane_has_a_method_of_the_proxy() {
    let weather = WeatherProxy::builder(Client).general(Quota::per_second(5)).build().unwrap();
    weather.general_lane().set_quota(&Quota::per_second(7)).unwrap();
    assert_eq!(weather.general_lane().name(), "general");
    assert_eq!(weather.status().lane("general").unwrap().quota, "7/s");
}
