//! The trait `AsyncBroker`: each method is one request, and what the lanes have to know of the broker.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use chrono::NaiveDateTime;
use kiteconnect::OrderResponse;
use lanekeeper::broker::{
    AsyncBroker, BrokerError, Candle, CandleRequest, Exchange, Holding, Instrument, InstrumentInfo,
    Margins, MissingListing, Order, OrderCancel, OrderChange, OrderId, OrderRequest, OrderTags,
    Partial, Positions, Profile, QuoteBatchLimit, Quotes, Rows, Trade,
};
use lanekeeper::jiff::Zoned;
use lanekeeper::{Limits, Session, presets};

use crate::decode::{rows, zone};
use crate::errors::{malformed, not_sent, unconfirmed};
use crate::{OfficialKite, account, market, orders};

#[lanekeeper::async_trait]
impl AsyncBroker for OfficialKite {
    async fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        let (variety, params) = orders::placement(order)?;
        let answer = self.write(&self.client().place_order(variety, params)).await?;
        if answer.order_id.is_empty() || !answer.children.is_empty() {
            return Err(unconfirmed("the answer names no order, or several"));
        }
        Ok(orders::order_id(order.variety.as_str(), &answer.order_id))
    }

    async fn modify_order(
        &self,
        id: &OrderId,
        change: &OrderChange,
    ) -> Result<OrderId, BrokerError> {
        let (variety, number) = orders::address(id)?;
        let params = orders::modification(change)?;
        let answer = self.write(&self.client().modify_order(variety, number, params)).await?;
        confirm(&answer, number)?;
        Ok(id.clone())
    }

    async fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.cancel_order_with(id, &OrderCancel::new()).await
    }

    async fn cancel_order_with(
        &self,
        id: &OrderId,
        cancel: &OrderCancel,
    ) -> Result<(), BrokerError> {
        let (variety, number) = orders::address(id)?;
        let mut extra = cancel.extra.clone();
        let parent = extra.remove("parent_order_id");
        orders::no_extras(&extra)?;
        let call = self.client().cancel_order(variety, number, parent.as_deref());
        confirm(&self.write(&call).await?, number)
    }

    async fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError> {
        let (_, number) = orders::address(id)?;
        let data = self.read(self.client().order_history(number).raw()).await?;
        rows(data, "order_id", orders::order)
    }

    async fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        rows(self.read(self.client().orders().raw()).await?, "order_id", orders::order)
    }

    async fn trades(&self) -> Result<Rows<Trade>, BrokerError> {
        rows(self.read(self.client().trades().raw()).await?, "trade_id", orders::trade)
    }

    async fn positions(&self) -> Result<Partial<Positions>, BrokerError> {
        account::positions(self.read(self.client().positions().raw()).await?)
    }

    async fn holdings(&self) -> Result<Rows<Holding>, BrokerError> {
        let data = self.read(self.client().holdings().raw()).await?;
        rows(data, "tradingsymbol", account::holding)
    }

    async fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
        account::margins(&self.read(self.client().margins()).await?)
    }

    async fn profile(&self) -> Result<Profile, BrokerError> {
        self.read(self.client().profile()).await.map(account::profile)
    }

    async fn instruments(
        &self,
        exchange: Option<&Exchange>,
    ) -> Result<Rows<InstrumentInfo>, BrokerError> {
        let client = self.client();
        let call = match exchange {
            Some(exchange) => client.instruments_by_exchange(exchange.as_str()),
            None => client.instruments(),
        };
        let listing = self.read(call).await?;
        let mut tokens = self.tokens();
        // An exchange that was listed without a row is not fetched again for each of its instruments.
        exchange.map(|exchange| tokens.insert(exchange.clone(), HashMap::new()));
        for row in &listing {
            let symbols = tokens.entry(Exchange::from(row.exchange.as_str())).or_default();
            symbols.insert(row.tradingsymbol.clone(), row.instrument_token);
        }
        drop(tokens);
        let infos: Result<Vec<_>, _> = listing.into_iter().map(market::instrument).collect();
        Ok(infos.map_err(malformed)?.into())
    }

    async fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        let limit = market::BATCH_LIMIT;
        let bytes: usize = instruments.iter().map(|instrument| limit.cost(instrument)).sum();
        if instruments.is_empty() {
            return Ok(Quotes::default());
        }
        if instruments.len() > limit.count || bytes > limit.bytes {
            return Err(not_sent(
                "too many instruments for one request: a QuoteCache divides them",
            ));
        }
        let names: Vec<&str> = instruments.iter().map(Instrument::as_str).collect();
        market::quotes(self.read(self.client().quote(&names).raw()).await?, instruments)
    }

    async fn candles(&self, request: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        let (exchange, symbol) =
            (Exchange::from(request.instrument.exchange()), request.instrument.symbol());
        let token = self.tokens().get(&exchange).and_then(|symbols| symbols.get(symbol)).copied();
        let token =
            token.ok_or_else(|| not_sent(format!("{} is not listed", request.instrument)))?;
        let (from, to) = request.range(&zone())?;
        let call = self.client().historical_data(
            token,
            request.interval.as_str(),
            naive(&from)?,
            naive(&to)?,
            request.continuous,
            request.open_interest,
        );
        let candles = self.read(call).await?;
        let candles: Result<Vec<_>, _> = candles.iter().map(market::candle).collect();
        Ok(candles.map_err(malformed)?.into())
    }

    /// Kite identifies the instrument of candles by a number from its listing. A proxy fetches the listing through its
    /// lane: a second request within one call would go behind the lane's back.
    fn missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
        let exchange = Exchange::from(request.instrument.exchange());
        let is_missing = || !self.tokens().contains_key(&exchange);
        self.inner.missing_listings.get(&exchange, is_missing)
    }

    /// Without limits of the adapter, a proxy is not built until its lanes are set.
    fn documented_limits(&self) -> Limits {
        presets::kite()
    }

    /// Kite shows the tag of an order in the order book, and does not enforce that it is unique.
    fn order_tags(&self) -> OrderTags {
        OrderTags::echoed(20).zone(zone()).changed_in_place()
    }

    fn quote_batch_limit(&self) -> QuoteBatchLimit {
        market::BATCH_LIMIT
    }

    fn session(&self) -> Option<Session> {
        Some(self.inner.session.clone())
    }
}

impl OfficialKite {
    fn tokens(&self) -> MutexGuard<'_, HashMap<Exchange, HashMap<String, u32>>> {
        self.inner.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks that the answer is about the order that was changed.
fn confirm(answer: &OrderResponse, number: &str) -> Result<(), BrokerError> {
    if answer.order_id == number {
        return Ok(());
    }
    Err(unconfirmed(format!("the answer names the order {:?}, and not {number}", answer.order_id)))
}

/// Returns a time as the client takes it, without a zone.
fn naive(at: &Zoned) -> Result<NaiveDateTime, BrokerError> {
    let text = at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    text.parse().map_err(|error| not_sent(format!("{text}: {error}")))
}
