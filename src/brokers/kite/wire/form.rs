//! Orders and changes, read from the forms by which clients send them.
//!
//! The inverse of `order_form.rs`, for forms of any client. Their bytes are sent to Kite as they are, and Kite checks
//! them. So what is read here is what Kite would take the form for, for the comparison with its order book:
//!
//! - Clients send values that say nothing, such as `price=0` with a market order, `market_protection=0.0` and empty
//!   texts. They are read as absent.
//! - A value that the order type does not use, such as the price of a market order, is not read: the order book does not
//!   show it.
//! - A word that is not known, such as a product of next year, is kept as it is.
//! - A field that is not known becomes an extra field.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::super::de::parse_decimal;
use super::super::order_form::{AUTOMATIC_PROTECTION, RESERVED_FIELDS};
use super::super::orders;
use super::super::secrets::truncate;
use crate::broker::{
    Instrument, MarketProtection, OrderChange, OrderRequest, OrderType, Product, Side, TimeInForce,
    Variety,
};

/// Why a form cannot be read as an order. It shows no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireFormError {
    /// A field is missing or empty, without which there is no order.
    #[error("the form has no `{field}`")]
    Missing {
        /// The name of the field.
        field: &'static str,
    },
    /// A field is there more than once. Which of its values counts is up to the server.
    #[error("the form has `{field}` more than once")]
    Repeated {
        /// The name of the field, bounded in length.
        field: String,
    },
    /// The value of a field cannot be read.
    #[error("the form's `{field}` is not {expected}")]
    Unreadable {
        /// The name of the field.
        field: &'static str,
        /// What the value should be.
        expected: &'static str,
    },
}

impl WireFormError {
    /// Returns the name of the field.
    pub fn field(&self) -> &str {
        match self {
            Self::Missing { field } | Self::Unreadable { field, .. } => field,
            Self::Repeated { field } => field,
        }
    }
}

/// Returns the order that the form of `POST /orders/{variety}` describes.
///
/// The form is decoded: pairs of names and values, in any order. What Kite would refuse, such as a limit order without a
/// price, is not checked here.
///
/// A field that [`OrderRequest`] does not have is one of its extra fields, but for credentials (`access_token`), which
/// must not get into a journal.
///
/// # Errors
/// The form does not say which order it is: a field is missing, repeated, or cannot be read.
pub fn read_placement_form(
    variety: &str,
    form: &[(String, String)],
) -> Result<OrderRequest, WireFormError> {
    let mut fields = Fields::of(form)?;
    if fields.take("variety").is_some_and(|named| named != variety) {
        return Err(WireFormError::Unreadable { field: "variety", expected: "that of the path" });
    }
    let instrument = fields.instrument()?;
    let side = fields.side()?;
    let quantity = match fields.number("quantity")? {
        Some(quantity) if !quantity.is_zero() => quantity,
        _ => return Err(WireFormError::Missing { field: "quantity" }),
    };
    let kind = order_type(fields.required("order_type")?);
    let uses = Uses::of(Some(&kind));
    let mut order =
        OrderRequest::market(instrument, side, quantity).variety(Variety::from(variety));
    order.order_type = kind;
    order.price = fields.non_zero("price")?.filter(|_| uses.price);
    order.trigger_price = fields.non_zero("trigger_price")?.filter(|_| uses.trigger);
    order.product = fields.take("product").map(product);
    order.time_in_force = fields.take("validity").map_or(TimeInForce::Day, time_in_force);
    order.disclosed_quantity = fields.non_zero("disclosed_quantity")?;
    order.market_protection = fields.protection()?.filter(|_| uses.protection);
    order.autoslice = fields.flag("autoslice")?;
    order.tag = fields.take("tag").map(str::to_owned);
    order.extra = fields.into_extra();
    Ok(order)
}

/// Returns the change that the form of `PUT /orders/{variety}/{id}` describes.
///
/// Clients repeat what the order is, such as its instrument and its side. These fields cannot be changed and are
/// ignored. `disclosed_quantity=0` is a change: the whole quantity becomes visible.
///
/// # Errors
/// A field is repeated, or cannot be read.
pub fn read_change_form(form: &[(String, String)]) -> Result<OrderChange, WireFormError> {
    let mut fields = Fields::of(form)?;
    let mut change = OrderChange::new();
    change.order_type = fields.take("order_type").map(order_type);
    let uses = Uses::of(change.order_type.as_ref());
    change.quantity = fields.non_zero("quantity")?;
    change.price = fields.non_zero("price")?.filter(|_| uses.price);
    change.trigger_price = fields.non_zero("trigger_price")?.filter(|_| uses.trigger);
    change.time_in_force = fields.take("validity").map(time_in_force);
    change.disclosed_quantity = fields.number("disclosed_quantity")?;
    change.market_protection = fields.protection()?.filter(|_| uses.protection);
    change.extra = fields.into_extra();
    Ok(change)
}

/// Which values an order of a type uses. Kite ignores the others.
struct Uses {
    price: bool,
    trigger: bool,
    protection: bool,
}

impl Uses {
    /// `None` if the type is not known here.
    fn of(kind: Option<&OrderType>) -> Self {
        let is = |kinds: &[OrderType]| kind.is_some_and(|kind| kinds.contains(kind));
        Self {
            price: !is(&[OrderType::Market, OrderType::Stop]),
            trigger: !is(&[OrderType::Market, OrderType::Limit]),
            protection: !is(&[OrderType::Limit, OrderType::StopLimit]),
        }
    }
}

/// Names of credentials, which old clients send as fields.
const CREDENTIALS: [&str; 6] =
    ["api_key", "access_token", "enctoken", "public_token", "request_token", "checksum"];

/// The fields of a form that say something, each once.
struct Fields<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn of(form: &'a [(String, String)]) -> Result<Self, WireFormError> {
        let mut fields = BTreeMap::new();
        for (name, value) in form {
            if fields.insert(name.as_str(), value.as_str()).is_some() {
                return Err(WireFormError::Repeated { field: truncate(name) });
            }
        }
        fields.retain(|name, value| !name.is_empty() && !value.is_empty());
        Ok(Self(fields))
    }

    /// Removes a field and returns its value.
    fn take(&mut self, field: &str) -> Option<&'a str> {
        self.0.remove(field)
    }

    fn required(&mut self, field: &'static str) -> Result<&'a str, WireFormError> {
        self.take(field).ok_or(WireFormError::Missing { field })
    }

    fn instrument(&mut self) -> Result<Instrument, WireFormError> {
        let field = "exchange";
        let exchange = self.required(field)?;
        // As text, the instrument would be another one, or none: a journal could not be read again.
        if exchange.contains(':') {
            return Err(WireFormError::Unreadable { field, expected: "an exchange" });
        }
        Ok(Instrument::new(exchange, self.required("tradingsymbol")?))
    }

    fn side(&mut self) -> Result<Side, WireFormError> {
        let field = "transaction_type";
        let word = self.required(field)?;
        [Side::Buy, Side::Sell]
            .into_iter()
            .find(|side| word.eq_ignore_ascii_case(&side.to_string()))
            .ok_or(WireFormError::Unreadable { field, expected: "BUY or SELL" })
    }

    /// Returns a number of at least zero.
    fn number(&mut self, field: &'static str) -> Result<Option<Decimal>, WireFormError> {
        let Some(text) = self.take(field) else { return Ok(None) };
        match parse_decimal(text).filter(|number| *number >= Decimal::ZERO) {
            Some(number) => Ok(Some(number)),
            None => Err(WireFormError::Unreadable { field, expected: "a number of at least 0" }),
        }
    }

    /// Returns a number, unless it is zero, which clients send for none.
    fn non_zero(&mut self, field: &'static str) -> Result<Option<Decimal>, WireFormError> {
        Ok(self.number(field)?.filter(|number| !number.is_zero()))
    }

    /// Returns the market protection. Zero is none.
    fn protection(&mut self) -> Result<Option<MarketProtection>, WireFormError> {
        let field = "market_protection";
        let Some(text) = self.take(field) else { return Ok(None) };
        let number = parse_decimal(text);
        if number.is_some_and(|number| number.is_zero()) {
            return Ok(None);
        }
        if number == parse_decimal(AUTOMATIC_PROTECTION) {
            return Ok(Some(MarketProtection::AUTO));
        }
        match number.and_then(|percent| MarketProtection::percent(percent).ok()) {
            Some(protection) => Ok(Some(protection)),
            None => Err(WireFormError::Unreadable { field, expected: "-1, 0 or a percentage" }),
        }
    }

    /// Returns a truth value, in any of the spellings of the clients' languages.
    fn flag(&mut self, field: &'static str) -> Result<bool, WireFormError> {
        let Some(word) = self.take(field) else { return Ok(false) };
        match word.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Ok(true),
            "false" | "f" | "0" => Ok(false),
            _ => Err(WireFormError::Unreadable { field, expected: "true or false" }),
        }
    }

    /// Returns what is left as extra fields. A reserved name is that of a field which the request repeats.
    fn into_extra(self) -> BTreeMap<String, String> {
        let is_extra =
            |name: &str| !RESERVED_FIELDS.contains(&name) && !CREDENTIALS.contains(&name);
        let fields = self.0.into_iter().filter(|(name, _)| is_extra(name));
        fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

fn order_type(word: &str) -> OrderType {
    match orders::order_type(&word.to_ascii_uppercase()) {
        OrderType::Other(_) => OrderType::from(word),
        known => known,
    }
}

fn product(word: &str) -> Product {
    match Product::from(word.to_ascii_uppercase()) {
        Product::Other(_) => Product::from(word),
        known => known,
    }
}

fn time_in_force(word: &str) -> TimeInForce {
    match TimeInForce::from(word.to_ascii_uppercase()) {
        TimeInForce::Other(_) => TimeInForce::from(word),
        known => known,
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
