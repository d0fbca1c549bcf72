//! Orders and changes: checked, then written as the forms that Kite reads.
//!
//! What Kite would certainly refuse is refused here, since an invalid order counts against the day's limit like any
//! other. What only Kite can know (lots, ticks, funds) is left to Kite.

use std::collections::BTreeMap;

use form_urlencoded::Serializer;
use rust_decimal::Decimal;

use super::http::not_sent_error;
use super::slice_tags::is_slice_tag;
use crate::broker::{
    BrokerError, Instrument, MarketProtection, OrderCancel, OrderChange, OrderRequest, OrderType,
    Product, TimeInForce,
};

/// Fields that this adapter sets or omits on purpose. An extra field may not set them: it would bypass the checks, or
/// contradict the request that the caller sees.
pub(super) const RESERVED_FIELDS: [&str; 15] = [
    "exchange",
    "tradingsymbol",
    "transaction_type",
    "quantity",
    "product",
    "order_type",
    "price",
    "trigger_price",
    "validity",
    "disclosed_quantity",
    "market_protection",
    "autoslice",
    "tag",
    "variety",
    "order_id",
];

/// The most characters of a tag.
pub(super) const MAX_TAG_LENGTH: usize = 20;

/// Returns the form that places `order`.
pub(super) fn placement(
    order: &OrderRequest,
    default_product: &Product,
    default_protection: Option<MarketProtection>,
) -> Result<String, BrokerError> {
    let (exchange, symbol) = check_instrument(&order.instrument)?;
    let mut form = Serializer::new(String::new());
    form.append_pair("exchange", exchange)
        .append_pair("tradingsymbol", symbol)
        .append_pair("transaction_type", &order.side.to_string())
        .append_pair("quantity", &quantity_text("quantity", order.quantity, Decimal::ONE)?)
        .append_pair("product", order.product.as_ref().unwrap_or(default_product).as_str())
        .append_pair("order_type", order_type(&order.order_type))
        .append_pair("validity", validity(&order.time_in_force)?);
    check_prices(&order.order_type, order.price, order.trigger_price)?;
    if let Some(price) = order.price {
        form.append_pair("price", &price_text("price", price)?);
    }
    if let Some(price) = order.trigger_price {
        form.append_pair("trigger_price", &price_text("trigger price", price)?);
    }
    if let Some(quantity) = order.disclosed_quantity {
        let text = quantity_text("disclosed quantity", quantity, Decimal::ZERO)?;
        form.append_pair("disclosed_quantity", &text);
    }
    let (kind, own) = (Some(&order.order_type), order.market_protection);
    add_protection(&mut form, kind, own, default_protection)?;
    if order.autoslice {
        form.append_pair("autoslice", "true");
    }
    if let Some(tag) = &order.tag {
        form.append_pair("tag", check_tag(tag)?);
    }
    add_extras(&mut form, &order.extra)?;
    Ok(form.finish())
}

/// Returns the form that makes `change`.
pub(super) fn modification(
    change: &OrderChange,
    default_protection: Option<MarketProtection>,
) -> Result<String, BrokerError> {
    if *change == OrderChange::new() {
        return Err(not_sent_error("the change changes nothing"));
    }
    let mut form = Serializer::new(String::new());
    if let Some(quantity) = change.quantity {
        form.append_pair("quantity", &quantity_text("quantity", quantity, Decimal::ONE)?);
    }
    if let Some(price) = change.price {
        form.append_pair("price", &price_text("price", price)?);
    }
    if let Some(price) = change.trigger_price {
        form.append_pair("trigger_price", &price_text("trigger price", price)?);
    }
    if let Some(kind) = &change.order_type {
        form.append_pair("order_type", order_type(kind));
    }
    if let Some(time) = &change.time_in_force {
        form.append_pair("validity", validity(time)?);
    }
    if let Some(quantity) = change.disclosed_quantity {
        let text = quantity_text("disclosed quantity", quantity, Decimal::ZERO)?;
        form.append_pair("disclosed_quantity", &text);
    }
    let (kind, own) = (change.order_type.as_ref(), change.market_protection);
    add_protection(&mut form, kind, own, default_protection)?;
    add_extras(&mut form, &change.extra)?;
    Ok(form.finish())
}

/// Returns the query string of a cancellation with its `?`, or an empty text. Kite's own clients send
/// `parent_order_id` this way, since a DELETE has no form.
pub(super) fn cancellation(cancel: &OrderCancel) -> Result<String, BrokerError> {
    if cancel.extra.is_empty() {
        return Ok(String::new());
    }
    let mut query = Serializer::new(String::new());
    add_extras(&mut query, &cancel.extra)?;
    Ok(format!("?{}", query.finish()))
}

/// Adds the market protection: what the caller named, or the default where Kite requires one. Kite requires it for
/// each order of these types, and for a change *to* one of them. An order that already has such a type keeps its own.
/// It has no meaning for other types, so it is an error there.
fn add_protection(
    form: &mut Serializer<'_, String>,
    kind: Option<&OrderType>,
    own: Option<MarketProtection>,
    default: Option<MarketProtection>,
) -> Result<(), BrokerError> {
    let protection = match (kind, own) {
        (Some(kind @ (OrderType::Limit | OrderType::StopLimit)), Some(_)) => {
            return Err(not_sent_error(format!(
                "a {kind} order has its own price and takes no market protection"
            )));
        }
        (Some(OrderType::Market | OrderType::Stop), None) => default,
        (_, own) => own,
    };
    if let Some(protection) = protection {
        let text =
            protection.as_percent().map_or_else(|| AUTOMATIC_PROTECTION.to_owned(), decimal_text);
        form.append_pair("market_protection", &text);
    }
    Ok(())
}

/// Kite's value for a market protection that it chooses itself.
pub(super) const AUTOMATIC_PROTECTION: &str = "-1";

/// Adds the extra fields.
fn add_extras(
    form: &mut Serializer<'_, String>,
    extra: &BTreeMap<String, String>,
) -> Result<(), BrokerError> {
    for (key, value) in extra {
        if key.is_empty() || RESERVED_FIELDS.contains(&key.as_str()) {
            return Err(not_sent_error(format!(
                "the extra field {key:?} is one that this adapter fills in itself: set it by its own \
                 method"
            )));
        }
        form.append_pair(key, value);
    }
    Ok(())
}

/// Returns Kite's name for an order type.
pub(super) fn order_type(kind: &OrderType) -> &str {
    match kind {
        OrderType::Stop => "SL-M",
        OrderType::StopLimit => "SL",
        other => other.as_str(),
    }
}

/// Returns Kite's name for a time in force. A value that Kite does not have must not silently become a day order.
fn validity(time: &TimeInForce) -> Result<&str, BrokerError> {
    match time {
        TimeInForce::Fok | TimeInForce::Gtc | TimeInForce::Opg | TimeInForce::Cls => {
            Err(not_sent_error(format!(
                "Kite has no {time} orders: DAY, IOC and TTL are what it takes"
            )))
        }
        other => Ok(other.as_str()),
    }
}

/// Returns the exchange and the symbol of `instrument`, if it has both.
pub(super) fn check_instrument(instrument: &Instrument) -> Result<(&str, &str), BrokerError> {
    let (exchange, symbol) = (instrument.exchange(), instrument.symbol());
    if exchange.is_empty() || symbol.is_empty() {
        return Err(not_sent_error(format!("`{instrument}` lacks an exchange or a symbol")));
    }
    Ok((exchange, symbol))
}

/// Checks that the prices which the order type needs are set.
pub(super) fn check_prices(
    kind: &OrderType,
    price: Option<Decimal>,
    trigger: Option<Decimal>,
) -> Result<(), BrokerError> {
    if matches!(kind, OrderType::Limit | OrderType::StopLimit) && price.is_none() {
        return Err(not_sent_error(format!("a {kind} order needs a price")));
    }
    if matches!(kind, OrderType::Stop | OrderType::StopLimit) && trigger.is_none() {
        return Err(not_sent_error(format!("a {kind} order needs a trigger price")));
    }
    Ok(())
}

pub(super) fn price_text(what: &str, price: Decimal) -> Result<String, BrokerError> {
    if price <= Decimal::ZERO {
        return Err(not_sent_error(format!("the {what} is {price}, and must be above zero")));
    }
    Ok(decimal_text(price))
}

pub(super) fn quantity_text(
    what: &str,
    quantity: Decimal,
    least: Decimal,
) -> Result<String, BrokerError> {
    if !quantity.fract().is_zero() || quantity < least {
        return Err(not_sent_error(format!(
            "the {what} is {quantity}, and must be a whole number of at least {least}"
        )));
    }
    Ok(decimal_text(quantity))
}

/// Writes a number without an exponent and without trailing zeros.
pub(super) fn decimal_text(number: Decimal) -> String {
    number.normalize().to_string()
}

pub(super) fn check_tag(tag: &str) -> Result<&str, BrokerError> {
    if is_slice_tag(tag) {
        let why = "is Kite's own mark of a slice, and would not be shown as yours: take another";
        return Err(not_sent_error(format!("the tag {tag:?} {why}")));
    }
    let fits = !tag.is_empty() && tag.len() <= MAX_TAG_LENGTH;
    if fits && tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(tag);
    }
    Err(not_sent_error(format!(
        "the tag {tag:?} must be 1 to {MAX_TAG_LENGTH} ASCII letters and digits"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Side;

    fn infy() -> Instrument {
        Instrument::new("NSE", "INFY")
    }

    fn form(order: &OrderRequest) -> Result<String, BrokerError> {
        placement(order, &Product::Cnc, None)
    }

    fn refused(order: &OrderRequest) -> String {
        match form(order).unwrap_err() {
            BrokerError::NotSent(detail) => detail.message,
            other => panic!("{other}"),
        }
    }

    fn dec(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn each_order_type_has_kites_word_and_its_prices() {
        let text = |order: &OrderRequest| {
            let form = form(order).unwrap();
            form.split_once("order_type=").unwrap().1.to_owned()
        };
        let (side, one) = (Side::Sell, Decimal::ONE);
        assert_eq!(text(&OrderRequest::market(infy(), side, one)), "MARKET&validity=DAY");
        assert_eq!(
            text(&OrderRequest::limit(infy(), side, one, dec("1500.10"))),
            "LIMIT&validity=DAY&price=1500.1"
        );
        assert_eq!(
            text(&OrderRequest::stop(infy(), side, one, dec("100"))),
            "SL-M&validity=DAY&trigger_price=100"
        );
        assert_eq!(
            text(&OrderRequest::stop_limit(infy(), side, one, dec("100"), dec("99.5"))),
            "SL&validity=DAY&price=99.5&trigger_price=100"
        );
    }

    #[test]
    fn numbers_are_written_plainly() {
        let mut order =
            OrderRequest::limit(infy(), Side::Buy, dec("10.0"), dec("99725.05000000002"));
        order.trigger_price = Some(dec("0.0000001"));
        let form = form(&order).unwrap();
        assert!(form.contains("quantity=10&"), "{form}");
        assert!(form.contains("price=99725.05000000002&"), "{form}");
        assert!(form.contains("trigger_price=0.0000001"), "{form}");
    }

    #[test]
    fn odd_symbols_are_encoded() {
        let order = OrderRequest::market(Instrument::new("NSE", "M&M=1"), Side::Buy, 1);
        assert!(form(&order).unwrap().contains("tradingsymbol=M%26M%3D1&"));
    }

    #[test]
    fn a_tag_is_twenty_letters_and_digits() {
        let tagged = |tag: &str| OrderRequest::market(infy(), Side::Buy, 1).tag(tag);
        assert!(form(&tagged("alpha1")).unwrap().ends_with("&tag=alpha1"));
        assert!(form(&tagged(&"x".repeat(20))).is_ok());
        for tag in ["", "autoslice", "autoslice:77", "a b", "a-b", "à", "a&b", &"x".repeat(21)] {
            assert!(refused(&tagged(tag)).contains("tag"), "{tag}");
        }
    }

    #[test]
    fn a_quantity_is_a_whole_number_above_zero() {
        for quantity in ["0", "-1", "1.5"] {
            let order = OrderRequest::market(infy(), Side::Buy, dec(quantity));
            assert!(refused(&order).contains("quantity"), "{quantity}");
        }
    }

    #[test]
    fn a_missing_or_senseless_price_is_refused() {
        let mut order = OrderRequest::limit(infy(), Side::Buy, 1, dec("0"));
        assert!(refused(&order).contains("above zero"));
        order.price = None;
        assert_eq!(refused(&order), "a LIMIT order needs a price");
        order.order_type = OrderType::Stop;
        assert_eq!(refused(&order), "a STOP order needs a trigger price");
    }

    #[test]
    fn an_extra_is_sent_but_speaks_for_no_other_field() {
        let order = OrderRequest::market(infy(), Side::Buy, 1);
        let sent = form(&order.clone().extra("algo_id", "a&b")).unwrap();
        assert!(sent.ends_with("&algo_id=a%26b"));
        let change = OrderChange::new().quantity(2);
        let sent = modification(&change.clone().extra("parent_order_id", "7"), None).unwrap();
        assert_eq!(sent, "quantity=2&parent_order_id=7");
        let cancel = OrderCancel::new().extra("parent_order_id", "7").extra("x", "&");
        assert_eq!(cancellation(&cancel).unwrap(), "?parent_order_id=7&x=%26");
        assert_eq!(cancellation(&OrderCancel::new()).unwrap(), "");
        for key in RESERVED_FIELDS.into_iter().chain([""]) {
            assert!(refused(&order.clone().extra(key, "1")).contains(&format!("{key:?}")));
            let change = change.clone().extra(key, "1");
            let cancel = OrderCancel::new().extra(key, "1");
            for refused in [modification(&change, None), cancellation(&cancel)] {
                assert!(matches!(refused, Err(BrokerError::NotSent(detail)) if detail.local));
            }
        }
    }

    #[test]
    fn a_market_order_has_the_default_protection_or_its_own() {
        let auto = Some(MarketProtection::AUTO);
        let sent = |order: &OrderRequest, default| {
            let form = placement(order, &Product::Cnc, default).unwrap();
            form.split_once("&market_protection=").map(|(_, value)| value.to_owned())
        };
        let own = MarketProtection::percent(dec("2.50")).unwrap();
        for order in [
            OrderRequest::market(infy(), Side::Buy, 1),
            OrderRequest::stop(infy(), Side::Sell, 1, dec("100")),
        ] {
            assert_eq!(sent(&order, auto).as_deref(), Some("-1"));
            assert_eq!(sent(&order, None), None);
            let order = order.market_protection(own);
            assert_eq!(sent(&order, auto).as_deref(), Some("2.5"));
            assert_eq!(sent(&order, None).as_deref(), Some("2.5"));
        }
        for order in [
            OrderRequest::limit(infy(), Side::Buy, 1, dec("100")),
            OrderRequest::stop_limit(infy(), Side::Buy, 1, dec("100"), dec("100")),
        ] {
            assert_eq!(sent(&order, auto), None);
            assert!(refused(&order.market_protection(own)).contains("no market protection"));
        }
    }

    #[test]
    fn a_change_to_a_market_order_has_the_default_protection_or_its_own() {
        let auto = Some(MarketProtection::AUTO);
        let change = |kind| OrderChange::new().order_type(kind);
        let own = MarketProtection::percent(3).unwrap();
        for (kind, word) in [(OrderType::Market, "MARKET"), (OrderType::Stop, "SL-M")] {
            let sent = |change: &OrderChange| modification(change, auto).unwrap();
            let exit = change(kind);
            assert_eq!(sent(&exit), format!("order_type={word}&market_protection=-1"));
            let exit = exit.market_protection(own);
            assert_eq!(sent(&exit), format!("order_type={word}&market_protection=3"));
        }
        // One that is a market order already keeps its own, unless another is named.
        let more = OrderChange::new().quantity(2);
        assert_eq!(modification(&more, auto).unwrap(), "quantity=2");
        let other = OrderChange::new().market_protection(own);
        assert_eq!(modification(&other, auto).unwrap(), "market_protection=3");
        for kind in [OrderType::Limit, OrderType::StopLimit] {
            assert!(!modification(&change(kind.clone()), auto).unwrap().contains("protection"));
            assert!(modification(&change(kind).market_protection(own), auto).is_err());
        }
    }

    #[test]
    fn a_time_in_force_that_kite_lacks_is_refused() {
        let order = OrderRequest::market(infy(), Side::Buy, 1);
        assert!(refused(&order.clone().time_in_force(TimeInForce::Gtc)).contains("GTC"));
        assert!(form(&order.time_in_force(TimeInForce::Ioc)).unwrap().contains("validity=IOC"));
    }

    #[test]
    fn a_change_sends_what_changes() {
        assert!(modification(&OrderChange::new(), None).is_err());
        let change = OrderChange::new().price(dec("99.50")).order_type(OrderType::StopLimit);
        assert_eq!(modification(&change, None).unwrap(), "price=99.5&order_type=SL");
        assert!(modification(&OrderChange::new().quantity(dec("0.5")), None).is_err());
    }
}
