//! What forms of real clients, and forms that no client should send, are read as.

use form_urlencoded::parse;

use super::*;
use crate::brokers::kite::order_form::placement;

type Form = Vec<(String, String)>;

pub(super) fn form(text: &str) -> Form {
    parse(text.as_bytes()).into_owned().collect()
}

fn place(text: &str) -> Result<OrderRequest, WireFormError> {
    read_placement_form("regular", &form(text))
}

fn change(text: &str) -> Result<OrderChange, WireFormError> {
    read_change_form(&form(text))
}

fn infy() -> Instrument {
    Instrument::new("NSE", "INFY")
}

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// A limit order, with what every form needs.
const LIMIT: &str = "exchange=NSE&tradingsymbol=INFY&transaction_type=BUY&quantity=10&product=CNC\
                     &order_type=LIMIT&price=1500.5";

fn limit() -> OrderRequest {
    OrderRequest::limit(infy(), Side::Buy, 10, dec("1500.5")).product(Product::Cnc)
}

#[test]
fn the_forms_of_the_official_clients_are_one_order() {
    for (client, more) in [
        ("python", "&variety=regular&validity=DAY&tag=alpha1"),
        ("go", "&validity=DAY&tag=alpha1"),
        ("java", "&tag=alpha1&market_protection=0.0&autoslice=false&trigger_price=0.0"),
        ("node", "&variety=regular&trigger_price=0&disclosed_quantity=0&validity=&tag=alpha1"),
        (".net", "&variety=regular&tag=alpha1&validity=DAY"),
    ] {
        assert_eq!(place(&format!("{LIMIT}{more}")), Ok(limit().tag("alpha1")), "{client}");
    }
}

#[test]
fn a_value_that_says_nothing_is_absent() {
    for field in [
        "price=",
        "price=0",
        "price=0.00",
        "trigger_price=0",
        "trigger_price=",
        "disclosed_quantity=0",
        "market_protection=0",
        "market_protection=0.0",
        "market_protection=",
        "autoslice=false",
        "autoslice=False",
        "autoslice=",
        "validity=",
        "tag=",
        "algo_id=",
        "=1",
    ] {
        let text = format!("{}&{field}", LIMIT.replace("&price=1500.5", ""));
        let mut order = limit();
        order.price = None;
        assert_eq!(place(&text), Ok(order), "{field}");
    }
    for field in ["quantity=0", "price=0", "trigger_price=0.0", "order_type=", "parent_order_id="] {
        assert_eq!(change(field), Ok(OrderChange::new()), "{field}");
    }
}

#[test]
fn a_change_to_nothing_disclosed_is_a_change() {
    assert_eq!(change("disclosed_quantity=0"), Ok(OrderChange::new().disclosed_quantity(0)));
}

/// The order book would not show them, so an order that has them would look like another one.
#[test]
fn a_value_that_the_order_type_does_not_use_is_not_read() {
    let read = |kind: &str| {
        let text = format!("price=5&trigger_price=6&market_protection=2&order_type={kind}");
        let change = change(&text).unwrap();
        let whole = LIMIT.replace("&order_type=LIMIT&price=1500.5", "");
        let order = place(&format!("{whole}&{text}")).unwrap();
        let uses = |price: bool, trigger: bool, protection: bool| (price, trigger, protection);
        let of_change = uses(
            change.price.is_some(),
            change.trigger_price.is_some(),
            change.market_protection.is_some(),
        );
        let of_order = uses(
            order.price.is_some(),
            order.trigger_price.is_some(),
            order.market_protection.is_some(),
        );
        assert_eq!(of_change, of_order, "{kind}");
        of_order
    };
    assert_eq!(read("MARKET"), (false, false, true));
    assert_eq!(read("LIMIT"), (true, false, false));
    assert_eq!(read("SL"), (true, true, false));
    assert_eq!(read("SL-M"), (false, true, true));
    assert_eq!(read("OF-NEXT-YEAR"), (true, true, true));
    let kept = change("price=5&trigger_price=6&market_protection=2").unwrap();
    let protection = MarketProtection::percent(2).unwrap();
    let all = OrderChange::new().price(5).trigger_price(6).market_protection(protection);
    assert_eq!(kept, all);
}

#[test]
fn words_are_read_in_any_case_and_unknown_ones_kept() {
    let read = |kind: &str, product: &str, validity: &str| {
        let text = LIMIT.replace("LIMIT", kind).replace("CNC", product);
        let order = place(&format!("{text}&validity={validity}")).unwrap();
        (order.order_type, order.product.unwrap(), order.time_in_force)
    };
    let known = (OrderType::StopLimit, Product::Mtf, TimeInForce::Ioc);
    assert_eq!(read("SL", "MTF", "IOC"), known);
    assert_eq!(read("sl", "mtf", "ioc"), known);
    assert_eq!(read("SL-M", "NRML", "TTL").0, OrderType::Stop);
    let (kind, product, validity) = read("Pegged", "Bo", "GtT");
    assert_eq!((kind.as_str(), product.as_str(), validity.as_str()), ("Pegged", "Bo", "GtT"));
    assert_eq!(place(&LIMIT.replace("BUY", "Sell")).unwrap().side, Side::Sell);
    let order = read_placement_form("of_next_year", &form(LIMIT)).unwrap();
    assert_eq!(order.variety.as_str(), "of_next_year");
}

#[test]
fn numbers_are_read_in_the_spellings_of_every_language() {
    let price = |text: &str| place(&LIMIT.replace("1500.5", text)).unwrap().price;
    for text in ["1500.5", "1500.50", "1.5005e3", "1.5005E%2B03"] {
        assert_eq!(price(text), Some(dec("1500.5")), "{text}");
    }
    assert_eq!(place(&LIMIT.replace("=10&", "=10.0&")), Ok(limit()));
    for (word, is_sliced) in [("true", true), ("True", true), ("1", true), ("0", false)] {
        let order = place(&format!("{LIMIT}&autoslice={word}")).unwrap();
        assert_eq!(order.autoslice, is_sliced, "{word}");
    }
    let protected = |text: &str| change(&format!("market_protection={text}")).unwrap();
    for (text, percent) in [("-1", None), ("-1.0", None), ("2.50", Some(dec("2.5")))] {
        let protection = protected(text).market_protection.unwrap();
        assert_eq!(protection.as_percent(), percent, "{text}");
    }
}

#[test]
fn a_form_that_is_no_order_names_the_field() {
    let missing = |field| Err(WireFormError::Missing { field });
    for field in ["exchange", "tradingsymbol", "transaction_type", "quantity", "order_type"] {
        let rest = |empty: bool| -> Form {
            let mut form = form(LIMIT);
            match empty {
                true => {
                    form.iter_mut().filter(|(name, _)| name == field).for_each(|it| it.1.clear())
                }
                false => form.retain(|(name, _)| name != field),
            }
            form
        };
        assert_eq!(read_placement_form("regular", &rest(false)), missing(field));
        assert_eq!(read_placement_form("regular", &rest(true)), missing(field));
    }
    assert_eq!(place(&LIMIT.replace("=10&", "=0&")), missing("quantity"));
    for (from, to, field) in [
        ("BUY", "HOLD", "transaction_type"),
        ("=10&", "=ten&", "quantity"),
        ("=10&", "=-10&", "quantity"),
        ("1500.5", "None", "price"),
        ("1500.5", "NaN", "price"),
        ("1500.5", "1&trigger_price=null", "trigger_price"),
        ("1500.5", "1&disclosed_quantity=all", "disclosed_quantity"),
        ("1500.5", "1&autoslice=yes", "autoslice"),
        ("LIMIT", "MARKET&market_protection=100.5", "market_protection"),
        ("LIMIT", "MARKET&market_protection=-2", "market_protection"),
        ("LIMIT", "MARKET&market_protection=auto", "market_protection"),
        ("NSE", ":", "exchange"),
        ("NSE", "NSE:X", "exchange"),
    ] {
        let error = place(&LIMIT.replace(from, to)).unwrap_err();
        assert_eq!(error.field(), field, "{to}");
        assert!(error.to_string().contains(field), "{error}");
        assert!(!error.to_string().contains("HOLD"), "it shows a value: {error}");
    }
    assert_eq!(change("quantity=ten").unwrap_err().field(), "quantity");
}

#[test]
fn which_of_two_values_counts_is_unknown() {
    for text in ["quantity=1", "quantity=", "algo_id=7&algo_id=7"] {
        let error = place(&format!("{LIMIT}&{text}")).unwrap_err();
        let name = text.split('=').next().unwrap();
        assert_eq!(error, WireFormError::Repeated { field: name.to_owned() });
    }
    assert_eq!(change("price=1&price=2").unwrap_err().field(), "price");
    let long = "x".repeat(10_000);
    let error = change(&format!("{long}=1&{long}=2")).unwrap_err();
    assert!(error.to_string().len() < 500, "{} bytes", error.to_string().len());
    // The path has a variety too.
    assert_eq!(place(&format!("{LIMIT}&variety=amo")).unwrap_err().field(), "variety");
}

#[test]
fn every_other_field_is_an_extra_field() {
    let order = place(&format!("{LIMIT}&validity_ttl=5&iceberg_legs=2&new%26=a+b")).unwrap();
    let extra = [("iceberg_legs", "2"), ("new&", "a b"), ("validity_ttl", "5")];
    let expected = extra.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(order.extra.into_iter().collect::<Vec<_>>(), expected);
    let change = change("price=1&parent_order_id=7").unwrap();
    assert_eq!(change, OrderChange::new().price(1).extra("parent_order_id", "7"));
}

/// A change repeats its order, and a field that is reserved could not be sent as an extra field.
#[test]
fn what_the_path_or_the_order_says_is_no_extra_field() {
    let change = change(&format!("{LIMIT}&variety=regular&order_id=7&tag=t&autoslice=true"));
    let expected =
        OrderChange::new().quantity(10).price(dec("1500.5")).order_type(OrderType::Limit);
    assert_eq!(change, Ok(expected));
    assert_eq!(place(&format!("{LIMIT}&order_id=7")), Ok(limit()));
}

#[test]
fn a_credential_does_not_get_into_a_journal() {
    for name in CREDENTIALS {
        let order = place(&format!("{LIMIT}&{name}=s3cr3t")).unwrap();
        assert!(!format!("{order:?}").contains("s3cr3t"), "{name}");
    }
}

#[test]
fn the_defaults_of_the_adapter_are_read_with_the_order() {
    let order = OrderRequest::market(infy(), Side::Buy, 1);
    let text = placement(&order, &Product::Mis, Some(MarketProtection::AUTO)).unwrap();
    let sent = order.product(Product::Mis).market_protection(MarketProtection::AUTO);
    assert_eq!(place(&text), Ok(sent));
}
