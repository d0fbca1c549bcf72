use lanekeeper::broker::{Broker, BrokerError, Quotes};
use lanekeeper::{Instrument, delegate_broker};

struct Decorator<B>(Inner<B>);

struct Inner<B> {
    broker: B,
}

impl<B: Broker> Broker for Decorator<B> {
    // `quote_of` is `quotes_of`, misspelt.
    delegate_broker! { to self.inner(); except quotes, quote_of }

    fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        self.inner().quotes(instruments)
    }
}

impl<B: Broker> Decorator<B> {
    fn inner(&self) -> &B {
        &self.0.broker
    }
}

fn main() {}
