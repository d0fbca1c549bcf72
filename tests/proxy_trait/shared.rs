//! Proxies of different traits over one set of lanes.

use lanekeeper::{BuildError, CallOptions, HasLanes, LaneCall};

use super::*;

/// A trait with two lanes and two budgets.
#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    /// A call.
    #[lane(reads, read, budget = day)]
    fn forecast(&self) -> Result<u8>;
    /// A call that changes something.
    #[lane(alerts, write, budget = sms)]
    fn send(&self) -> Result<u8>;
}

/// Another trait, which names them in another order.
#[lanekeeper::proxy]
pub trait Extras: Send + Sync {
    /// A call.
    #[lane(alerts, write, budget = sms, weight = 2)]
    fn send_all(&self) -> Result<u8>;
    /// Another.
    #[lane(reads, read, budget = day)]
    fn history(&self) -> Result<u8>;
}

/// A trait with a lane that the others lack.
#[lanekeeper::proxy]
pub trait Foreign: Send + Sync {
    /// A call.
    #[lane(maps, read)]
    fn map(&self) -> Result<u8>;
}

struct Service;

impl Weather for Service {
    fn forecast(&self) -> Result<u8> {
        Ok(1)
    }
    fn send(&self) -> Result<u8> {
        Ok(2)
    }
}

impl Extras for Service {
    fn send_all(&self) -> Result<u8> {
        Ok(3)
    }
    fn history(&self) -> Result<u8> {
        Ok(4)
    }
}

impl Foreign for Service {
    fn map(&self) -> Result<u8> {
        Ok(5)
    }
}

/// An error with a class, which a closure needs.
#[derive(Debug, PartialEq)]
struct Classified;

impl From<LaneError> for Classified {
    fn from(_: LaneError) -> Self {
        Self
    }
}

impl lanekeeper::proxy::Classify for Classified {
    fn class(&self) -> lanekeeper::ErrorClass {
        lanekeeper::ErrorClass::Rejected
    }
}

fn weather() -> WeatherProxy<Service> {
    WeatherProxy::builder(Service)
        .reads(ample())
        .alerts(ample())
        .day(Quota::per_day(100))
        .sms(Quota::per_day(100))
        .clock(ManualClock::new())
        .build()
        .unwrap()
}

/// Returns how many slots of each lane and budget are in use, by name.
fn used(of: &impl HasLanes) -> Vec<(String, u32)> {
    let status = of.lanes().status();
    let lanes = status.lanes.iter().map(|lane| (lane.lane.to_owned(), lane.windows[0].used));
    let budgets = status.budgets.iter();
    let budgets = budgets.map(|budget| (budget.budget.to_owned(), budget.windows[0].used));
    lanes.chain(budgets).collect()
}

#[test]
fn a_call_of_another_trait_is_charged_to_the_lane_and_budget_of_the_same_name() {
    let weather = weather();
    let extras = ExtrasProxy::builder(Service).lanes_of(&weather).build().unwrap();
    assert_eq!(extras.send_all(), Ok(3));
    assert_eq!(extras.history(), Ok(4));
    assert_eq!(weather.forecast(), Ok(1));
    let call = LaneCall::write("alerts").budget("sms").weight(4);
    assert_eq!(extras.lanes().call(&call, &CallOptions::new(), || Ok::<_, Classified>(6)), Ok(6));
    let expected = [("reads", 2), ("alerts", 6), ("day", 2), ("sms", 6)];
    let expected: Vec<_> = expected.map(|(name, used)| (name.to_owned(), used)).into();
    assert_eq!((used(&weather), used(&extras)), (expected.clone(), expected));
    assert_eq!(extras.alerts_lane().name(), "alerts");
    assert_eq!(extras.reads_lane().name(), "reads");
}

#[test]
fn a_third_proxy_may_be_attached_through_the_second() {
    let weather = weather();
    let extras = ExtrasProxy::builder(Service).lanes_of(&weather).build().unwrap();
    let again = WeatherProxy::builder(Service).lanes_of(&extras).build().unwrap();
    assert_eq!(again.send(), Ok(2));
    assert_eq!(used(&weather)[1].1, 1);
}

#[test]
fn a_trait_with_a_lane_of_its_own_cannot_be_attached() {
    let error = ForeignProxy::builder(Service).lanes_of(&weather()).build().unwrap_err();
    assert!(matches!(&error, BuildError::NotShared { name, .. } if name == "maps"), "{error}");
    let with_quota = ExtrasProxy::builder(Service).reads(ample()).lanes_of(&weather()).build();
    assert!(matches!(with_quota, Err(BuildError::SharedLanes { setting: "reads", .. })));
}
