//! Orders and changes as clients send them: forms, parsed and checked with Kite's error messages.

use rust_decimal::Decimal;

use lanekeeper::broker::{
    Exchange, Instrument, MarketProtection, Order, OrderChange, OrderRequest, OrderType, Product,
    Side, TimeInForce, Variety,
};

use crate::http::form::FormFields;
use crate::http::response::ApiError;

/// Kite's bound on the length of a tag.
const MAX_TAG_LENGTH: usize = 20;

/// The fields that Kite documents for a regular placement, and the variety, which its clients repeat. Kite ignores the
/// fields of other varieties here. The simulator rejects them: a client that sends them has probably set the wrong
/// variety.
const PLACEMENT_FIELDS: [&str; 16] = [
    "variety",
    "exchange",
    "tradingsymbol",
    "transaction_type",
    "order_type",
    "quantity",
    "product",
    "price",
    "trigger_price",
    "disclosed_quantity",
    "validity",
    "validity_ttl",
    "market_protection",
    "autoslice",
    "algo_id",
    "tag",
];

/// The fields of a change. Kite's clients may repeat fields of the order that cannot be changed.
const MODIFICATION_FIELDS: [&str; 15] = [
    "variety",
    "order_id",
    "parent_order_id",
    "exchange",
    "tradingsymbol",
    "transaction_type",
    "product",
    "order_type",
    "quantity",
    "price",
    "trigger_price",
    "disclosed_quantity",
    "validity",
    "validity_ttl",
    "market_protection",
];

/// The fields of a cancellation.
const CANCELLATION_FIELDS: [&str; 3] = ["variety", "order_id", "parent_order_id"];

/// Parses the variety in a path. It is a part of the route, so Kite answers an unknown one like a wrong method.
pub(crate) fn parse_variety(word: &str) -> Result<Variety, ApiError> {
    match Variety::from(word) {
        Variety::Other(_) => Err(ApiError::no_method()),
        known => Ok(known),
    }
}

/// Parses the form of a placement.
pub(crate) fn placement(variety: Variety, form: &FormFields) -> Result<OrderRequest, ApiError> {
    form.reject_unknown(&PLACEMENT_FIELDS)?;
    form.check_same("variety", variety.as_str())?;
    let exchange = form.require("exchange")?;
    let instrument = Instrument::new(exchange, form.require("tradingsymbol")?);
    let side = match form.require("transaction_type")? {
        "BUY" => Side::Buy,
        "SELL" => Side::Sell,
        _ => return Err(FormFields::invalid("transaction_type")),
    };
    let kind = parse_order_type(form.require("order_type")?)?;
    form.require("quantity")?;
    let quantity = parse_quantity(form)?.unwrap_or_default();
    let product = match Product::from(form.require("product")?) {
        Product::Other(_) => return Err(FormFields::invalid("product")),
        known => known,
    };
    let mut order = OrderRequest::market(instrument, side, quantity).variety(variety);
    order.order_type = kind;
    order.product = Some(product);
    order.price = form.price("price")?;
    order.trigger_price = form.price("trigger_price")?;
    order.disclosed_quantity = form.integer("disclosed_quantity")?.map(Into::into);
    order.market_protection = protection(form, &order.order_type, None)?;
    order.autoslice = match form.get("autoslice") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(FormFields::invalid("autoslice")),
    };
    if let Some(word) = form.get("validity") {
        order.time_in_force = parse_validity(word)?;
    }
    if let Some(tag) = form.get("tag") {
        if tag.len() > MAX_TAG_LENGTH || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(FormFields::invalid("tag"));
        }
        order.tag = Some(tag.to_owned());
    }
    if let Some(minutes) = form.integer("validity_ttl")? {
        if !(1..=1440).contains(&minutes) {
            return Err(FormFields::invalid("validity_ttl"));
        }
        order = order.extra("validity_ttl", minutes.to_string());
    }
    if order.time_in_force == TimeInForce::Ttl && !order.extra.contains_key("validity_ttl") {
        return Err(FormFields::invalid("validity_ttl"));
    }
    if order.time_in_force == TimeInForce::Ioc && exchange == Exchange::Mcx.as_str() {
        return Err(FormFields::invalid("validity"));
    }
    Ok(order)
}

/// Parses the form of a change. `shown` is the order as the order book has it, `order` the request behind it.
pub(crate) fn modification(
    shown: &Order,
    order: &OrderRequest,
    form: &FormFields,
) -> Result<OrderChange, ApiError> {
    form.reject_unknown(&MODIFICATION_FIELDS)?;
    check_identity(shown, form)?;
    form.check_same("exchange", order.instrument.exchange())?;
    form.check_same("tradingsymbol", order.instrument.symbol())?;
    form.check_same("transaction_type", &order.side.to_string())?;
    form.check_same("product", order.product.as_ref().map_or("", Product::as_str))?;
    let mut change = OrderChange::new();
    change.quantity = parse_quantity(form)?;
    change.price = form.price("price")?;
    change.trigger_price = form.price("trigger_price")?;
    change.order_type = form.get("order_type").map(parse_order_type).transpose()?;
    change.time_in_force = form.get("validity").map(parse_validity).transpose()?;
    change.disclosed_quantity = form.integer("disclosed_quantity")?.map(Into::into);
    let kind = change.order_type.as_ref().unwrap_or(&order.order_type);
    change.market_protection = protection(form, kind, Some(order))?;
    Ok(change)
}

/// Checks whether the fields of a cancellation match the order.
pub(crate) fn cancellation(shown: &Order, fields: &FormFields) -> Result<(), ApiError> {
    fields.reject_unknown(&CANCELLATION_FIELDS)?;
    check_identity(shown, fields)
}

/// Checks whether the variety and the ids in a request match the order in its path.
fn check_identity(order: &Order, fields: &FormFields) -> Result<(), ApiError> {
    fields.check_same("variety", order.variety.as_str())?;
    fields.check_same("order_id", order.id.as_str())?;
    fields.check_same("parent_order_id", order.parent.as_ref().map_or("", |parent| parent.as_str()))
}

fn parse_quantity(form: &FormFields) -> Result<Option<Decimal>, ApiError> {
    Ok(form.integer("quantity")?.map(Into::into))
}

/// Kite's message for a market order without protection, for a placement and for a change of type.
const NO_PROTECTION_MESSAGE: &str = "Market orders without market protection are not allowed via API. Please set \
                           market protection or use a Limit order.";

/// Returns the market protection of an order that is, or becomes, of type `kind`. An order that was a market order
/// `before` keeps its protection. Kite accepts any value with the other types, where it has no meaning.
fn protection(
    form: &FormFields,
    kind: &OrderType,
    before: Option<&OrderRequest>,
) -> Result<Option<MarketProtection>, ApiError> {
    let given = match form.get("market_protection") {
        Some(text) => Some(parse_protection(text)?),
        None => None,
    };
    let is_market = |kind: &OrderType| matches!(kind, OrderType::Market | OrderType::Stop);
    if !is_market(kind) {
        return Ok(None);
    }
    let kept = before.filter(|order| is_market(&order.order_type));
    let protection = given.unwrap_or_else(|| kept.and_then(|order| order.market_protection));
    protection.map(Some).ok_or_else(|| ApiError::input(NO_PROTECTION_MESSAGE))
}

/// Parses a protection: -1 is the broker's choice, 0 is none, and any other number is a percentage.
fn parse_protection(text: &str) -> Result<Option<MarketProtection>, ApiError> {
    let number: Decimal = text.parse().map_err(|_| {
        ApiError::input(format!(
            "Invalid request (failed to decode market_protection, got: {text} (expected decimal))"
        ))
    })?;
    if number.is_zero() {
        return Ok(None);
    }
    if number == Decimal::NEGATIVE_ONE {
        return Ok(Some(MarketProtection::AUTO));
    }
    let percent = MarketProtection::percent(number);
    percent.map(Some).map_err(|_| FormFields::invalid("market_protection"))
}

pub(crate) fn parse_order_type(word: &str) -> Result<OrderType, ApiError> {
    Ok(match word {
        "MARKET" => OrderType::Market,
        "LIMIT" => OrderType::Limit,
        "SL" => OrderType::StopLimit,
        "SL-M" => OrderType::Stop,
        _ => return Err(FormFields::invalid("order_type")),
    })
}

fn parse_validity(word: &str) -> Result<TimeInForce, ApiError> {
    match TimeInForce::from(word) {
        known @ (TimeInForce::Day | TimeInForce::Ioc | TimeInForce::Ttl) => Ok(known),
        _ => Err(FormFields::invalid("validity")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lanekeeper::broker::{OrderId, OrderStatus};

    const MARKET: &str = "exchange=NSE&tradingsymbol=X&transaction_type=BUY&quantity=1&product=CNC\
                          &order_type=MARKET";

    fn placed(more: &str) -> Result<Option<MarketProtection>, ApiError> {
        let form = FormFields::parse(format!("{MARKET}{more}").as_bytes());
        placement(Variety::Regular, &form).map(|order| order.market_protection)
    }

    #[test]
    fn a_market_order_needs_a_protection() {
        for (text, percent) in
            [("-1", None), ("2", Some(2.into())), ("3.5", Some("3.5".parse().unwrap()))]
        {
            let protection = placed(&format!("&market_protection={text}")).unwrap().unwrap();
            assert_eq!(protection.as_percent(), percent);
        }
        for none in ["", "&market_protection=0", "&market_protection=0.0", "&market_protection="] {
            assert_eq!(placed(none), Err(ApiError::input(NO_PROTECTION_MESSAGE)), "{none}");
        }
        for wrong in ["-2", "100.5", "True", "NaN"] {
            assert!(placed(&format!("&market_protection={wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_market_order_keeps_its_protection_through_a_change() {
        let x = || Instrument::new("NSE", "X");
        let changed = |order: &OrderRequest, form: &str| {
            let shown = Order::new(OrderId::new("1"), OrderStatus::Open, order);
            let form = FormFields::parse(form.as_bytes());
            modification(&shown, order, &form).map(|it| it.market_protection)
        };
        let stop =
            OrderRequest::stop(x(), Side::Sell, 1, 5).market_protection(MarketProtection::AUTO);
        assert_eq!(changed(&stop, "quantity=2"), Ok(Some(MarketProtection::AUTO)));
        assert_eq!(changed(&stop, "order_type=MARKET"), Ok(Some(MarketProtection::AUTO)));
        assert!(changed(&stop, "quantity=2&market_protection=0").is_err());
        let limit = OrderRequest::limit(x(), Side::Sell, 1, 5);
        assert_eq!(
            changed(&limit, "order_type=MARKET"),
            Err(ApiError::input(NO_PROTECTION_MESSAGE))
        );
        assert_eq!(changed(&limit, "price=4"), Ok(None));
        // An order that was a market order and is a limit order now has no protection to keep.
        let was_stop = limit.clone().market_protection(MarketProtection::AUTO);
        assert!(changed(&was_stop, "order_type=MARKET").is_err());
        assert_eq!(
            changed(&limit, "order_type=MARKET&market_protection=-1"),
            Ok(Some(MarketProtection::AUTO))
        );
    }
}
