//! An order that the adapter writes as a form is read back as the same order.

use proptest::collection::btree_map;
use proptest::option::of as option;
use proptest::prelude::*;

use super::tests::form;
use super::*;
use crate::brokers::kite::order_form::{modification, placement};
use crate::brokers::kite::slice_tags::is_slice_tag;

#[derive(Debug, Clone)]
struct Prices {
    kind: OrderType,
    price: Option<Decimal>,
    trigger: Option<Decimal>,
    protection: Option<MarketProtection>,
}

fn positive(scale: u32) -> impl Strategy<Value = Decimal> {
    (1_i64..100_000_000).prop_map(move |number| Decimal::new(number, scale))
}

fn protections() -> impl Strategy<Value = MarketProtection> {
    let percent = (1_i64..=10_000)
        .prop_map(|number| MarketProtection::percent(Decimal::new(number, 2)).unwrap());
    prop_oneof![Just(MarketProtection::AUTO), percent]
}

/// Order types, each with the values that it uses.
fn prices() -> impl Strategy<Value = Prices> {
    let kinds = prop_oneof![
        Just(OrderType::Market),
        Just(OrderType::Limit),
        Just(OrderType::Stop),
        Just(OrderType::StopLimit),
        Just(OrderType::TrailingStop),
        "NEXT_[A-Z]{1,6}".prop_map(OrderType::from),
    ];
    (kinds, positive(2), positive(4), option(protections())).prop_map(
        |(kind, price, trigger, protection)| {
            let uses = Uses::of(Some(&kind));
            Prices {
                price: Some(price).filter(|_| uses.price),
                trigger: Some(trigger).filter(|_| uses.trigger),
                protection: protection.filter(|_| uses.protection),
                kind,
            }
        },
    )
}

fn times() -> impl Strategy<Value = TimeInForce> {
    let known = [TimeInForce::Day, TimeInForce::Ioc, TimeInForce::Ttl];
    prop_oneof![proptest::sample::select(known.to_vec()), "X[A-Z]{1,5}".prop_map(TimeInForce::from)]
}

fn extras() -> impl Strategy<Value = BTreeMap<String, String>> {
    let names = "[a-z_&=%+ é]{1,12}".prop_filter("reserved", |name| {
        !RESERVED_FIELDS.contains(&name.as_str()) && !CREDENTIALS.contains(&name.as_str())
    });
    btree_map(names, ".{1,12}", 0..4)
}

prop_compose! {
    fn orders()(
        exchange in "[A-Z]{2,6}",
        symbol in "[A-Z0-9&+ %=:é-]{1,20}",
        is_buy in any::<bool>(),
        quantity in positive(0),
        prices in prices(),
        product in prop_oneof![Just("CNC".to_owned()), "[A-Z]{1,6}"],
        time_in_force in times(),
        variety in prop_oneof![Just("regular".to_owned()), "[a-z_]{1,10}"],
        disclosed in option(positive(0)),
        autoslice in any::<bool>(),
        tag in option("[A-Za-z0-9]{1,20}".prop_filter("Kite's own", |tag| !is_slice_tag(tag))),
        extra in extras(),
    ) -> OrderRequest {
        let side = if is_buy { Side::Buy } else { Side::Sell };
        let mut order = OrderRequest::market(Instrument::new(exchange, symbol), side, quantity)
            .product(product.into())
            .time_in_force(time_in_force)
            .variety(variety.into())
            .autoslice(autoslice);
        order.order_type = prices.kind;
        order.price = prices.price;
        order.trigger_price = prices.trigger;
        order.market_protection = prices.protection;
        order.disclosed_quantity = disclosed;
        order.tag = tag;
        order.extra = extra;
        order
    }
}

prop_compose! {
    fn changes()(
        quantity in option(positive(0)),
        prices in option(prices()),
        has_kind in any::<bool>(),
        time_in_force in option(times()),
        disclosed in option((0_i64..10_000).prop_map(Decimal::from)),
        extra in extras(),
    ) -> OrderChange {
        let mut change = OrderChange::new();
        change.quantity = quantity;
        if let Some(prices) = prices {
            change.order_type = has_kind.then_some(prices.kind);
            change.price = prices.price;
            change.trigger_price = prices.trigger;
            change.market_protection = prices.protection;
        }
        change.time_in_force = time_in_force;
        change.disclosed_quantity = disclosed;
        change.extra = extra;
        change
    }
}

proptest! {
    #[test]
    fn an_order_that_is_written_is_read_back(order in orders()) {
        let text = placement(&order, &Product::Cnc, None).unwrap();
        let read = read_placement_form(order.variety.as_str(), &form(&text));
        prop_assert_eq!(read.as_ref(), Ok(&order), "{}", text);
        let journal = serde_json::to_string(&order).unwrap();
        prop_assert_eq!(serde_json::from_str::<OrderRequest>(&journal).unwrap(), order);
    }

    #[test]
    fn a_change_that_is_written_is_read_back(change in changes()) {
        prop_assume!(change != OrderChange::new());
        let text = modification(&change, None).unwrap();
        prop_assert_eq!(read_change_form(&form(&text)), Ok(change), "{}", text);
    }

    /// The order of the fields, which is that of a map in most clients, does not matter.
    #[test]
    fn the_order_of_the_fields_does_not_matter(order in orders(), seed in any::<u64>()) {
        let mut pairs = form(&placement(&order, &Product::Cnc, None).unwrap());
        fastrand::Rng::with_seed(seed).shuffle(&mut pairs);
        prop_assert_eq!(read_placement_form(order.variety.as_str(), &pairs), Ok(order));
    }
}
