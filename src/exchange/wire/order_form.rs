//! Orders and changes as clients send them: forms, read and checked in Kite's words.

use rust_decimal::Decimal;

use crate::broker::{
    Instrument, MarketProtection, OrderChange, OrderRequest, OrderType, Product, Side, TimeInForce,
    Variety,
};

use super::super::answer::ApiError;
use super::super::form::Fields;

/// Kite's bound of a tag.
const LONGEST_TAG: usize = 20;

/// The variety that an address names.
pub(super) fn variety(word: &str) -> Result<Variety, ApiError> {
    match Variety::from(word) {
        Variety::Other(_) => Err(Fields::invalid("variety")),
        known => Ok(known),
    }
}

/// The order that a form places.
pub(super) fn placement(variety: Variety, form: &Fields) -> Result<OrderRequest, ApiError> {
    let exchange = form.need("exchange")?;
    let instrument = Instrument::new(exchange, form.need("tradingsymbol")?);
    let side = match form.need("transaction_type")? {
        "BUY" => Side::Buy,
        "SELL" => Side::Sell,
        _ => return Err(Fields::invalid("transaction_type")),
    };
    let kind = order_type(form.need("order_type")?)?;
    form.need("quantity")?;
    let quantity = quantity(form)?.unwrap_or_default();
    let product = match Product::from(form.need("product")?) {
        Product::Other(_) => return Err(Fields::invalid("product")),
        known => known,
    };
    let mut order = OrderRequest::market(instrument, side, quantity).variety(variety);
    order.order_type = kind;
    order.product = Some(product);
    order.price = form.price("price")?;
    order.trigger_price = form.price("trigger_price")?;
    order.disclosed_quantity = form.whole("disclosed_quantity")?.map(Into::into);
    order.market_protection = protection(form, &order.order_type, None)?;
    order.autoslice = match form.get("autoslice") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Fields::invalid("autoslice")),
    };
    if let Some(word) = form.get("validity") {
        order.time_in_force = validity(word)?;
    }
    if let Some(tag) = form.get("tag") {
        if tag.len() > LONGEST_TAG || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Fields::invalid("tag"));
        }
        order.tag = Some(tag.to_owned());
    }
    if let Some(minutes) = form.whole("validity_ttl")? {
        if !(1..=1440).contains(&minutes) {
            return Err(Fields::invalid("validity_ttl"));
        }
        order = order.extra("validity_ttl", minutes.to_string());
    }
    if order.time_in_force == TimeInForce::Ttl && !order.extra.contains_key("validity_ttl") {
        return Err(Fields::invalid("validity_ttl"));
    }
    Ok(order)
}

/// The change of `order` that a form makes.
pub(super) fn modification(order: &OrderRequest, form: &Fields) -> Result<OrderChange, ApiError> {
    let mut change = OrderChange::new();
    change.quantity = quantity(form)?;
    change.price = form.price("price")?;
    change.trigger_price = form.price("trigger_price")?;
    change.order_type = form.get("order_type").map(order_type).transpose()?;
    change.time_in_force = form.get("validity").map(validity).transpose()?;
    change.disclosed_quantity = form.whole("disclosed_quantity")?.map(Into::into);
    let kind = change.order_type.as_ref().unwrap_or(&order.order_type);
    change.market_protection = protection(form, kind, Some(order))?;
    Ok(change)
}

fn quantity(form: &Fields) -> Result<Option<Decimal>, ApiError> {
    Ok(form.whole("quantity")?.map(Into::into))
}

/// Kite's words for a market order without protection, when it is placed and when an order becomes one.
const UNPROTECTED: &str = "Market orders without market protection are not allowed via API. Please set \
                           market protection or use a Limit order.";

/// The market protection of an order that is, or becomes, one of type `kind`. One that was a market
/// order `before` keeps what it has. Kite takes any value of it with the other types, where it means
/// nothing.
fn protection(
    form: &Fields,
    kind: &OrderType,
    before: Option<&OrderRequest>,
) -> Result<Option<MarketProtection>, ApiError> {
    let named = match form.get("market_protection") {
        Some(text) => Some(named_protection(text)?),
        None => None,
    };
    let is_market = |kind: &OrderType| matches!(kind, OrderType::Market | OrderType::Stop);
    if !is_market(kind) {
        return Ok(None);
    }
    let kept = before.filter(|order| is_market(&order.order_type));
    let protection = named.unwrap_or_else(|| kept.and_then(|order| order.market_protection));
    protection.map(Some).ok_or_else(|| ApiError::input(UNPROTECTED))
}

/// The protection that a client writes as -1, for the broker's choice, or as a percentage; 0 is none.
fn named_protection(text: &str) -> Result<Option<MarketProtection>, ApiError> {
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
    percent.map(Some).map_err(|_| Fields::invalid("market_protection"))
}

fn order_type(word: &str) -> Result<OrderType, ApiError> {
    Ok(match word {
        "MARKET" => OrderType::Market,
        "LIMIT" => OrderType::Limit,
        "SL" => OrderType::StopLimit,
        "SL-M" => OrderType::Stop,
        _ => return Err(Fields::invalid("order_type")),
    })
}

fn validity(word: &str) -> Result<TimeInForce, ApiError> {
    match TimeInForce::from(word) {
        known @ (TimeInForce::Day | TimeInForce::Ioc | TimeInForce::Ttl) => Ok(known),
        _ => Err(Fields::invalid("validity")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKET: &str = "exchange=NSE&tradingsymbol=X&transaction_type=BUY&quantity=1&product=CNC\
                          &order_type=MARKET";

    fn placed(more: &str) -> Result<Option<MarketProtection>, ApiError> {
        let form = Fields::parse(format!("{MARKET}{more}").as_bytes());
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
            assert_eq!(placed(none), Err(ApiError::input(UNPROTECTED)), "{none}");
        }
        for wrong in ["-2", "100.5", "True", "NaN"] {
            assert!(placed(&format!("&market_protection={wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_market_order_keeps_its_protection_through_a_change() {
        let x = || Instrument::new("NSE", "X");
        let changed = |order: &OrderRequest, form: &str| {
            modification(order, &Fields::parse(form.as_bytes())).map(|it| it.market_protection)
        };
        let stop =
            OrderRequest::stop(x(), Side::Sell, 1, 5).market_protection(MarketProtection::AUTO);
        assert_eq!(changed(&stop, "quantity=2"), Ok(Some(MarketProtection::AUTO)));
        assert_eq!(changed(&stop, "order_type=MARKET"), Ok(Some(MarketProtection::AUTO)));
        assert!(changed(&stop, "quantity=2&market_protection=0").is_err());
        let limit = OrderRequest::limit(x(), Side::Sell, 1, 5);
        assert_eq!(changed(&limit, "order_type=MARKET"), Err(ApiError::input(UNPROTECTED)));
        assert_eq!(changed(&limit, "price=4"), Ok(None));
        assert_eq!(
            changed(&limit, "order_type=MARKET&market_protection=-1"),
            Ok(Some(MarketProtection::AUTO))
        );
    }
}
