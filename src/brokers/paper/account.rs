//! The money and the positions, and how fills change them.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::broker::{Instrument, Margin, Margins, Position, Positions, Product, Side};

use super::error::PaperError;

/// Cash, the part of it that open orders block, and positions.
///
/// A position holds its entry value, long or short; its profit is added to the cash when it is
/// realised. There is no leverage and there are no charges.
#[derive(Debug)]
pub(super) struct PaperAccount {
    cash: Decimal,
    blocked: Decimal,
    entry_value: Decimal,
    realised: Decimal,
    positions: BTreeMap<(Instrument, Option<Product>), Position>,
}

impl PaperAccount {
    pub(super) fn new(cash: Decimal) -> Self {
        Self {
            cash,
            blocked: Decimal::ZERO,
            entry_value: Decimal::ZERO,
            realised: Decimal::ZERO,
            positions: BTreeMap::new(),
        }
    }

    /// Returns the money that is available now.
    pub(super) fn available(&self) -> Decimal {
        self.cash + self.realised - self.entry_value - self.blocked
    }

    /// Returns the money that an order at `price` would block. Closing a position needs none.
    pub(super) fn required_margin(
        &self,
        instrument: &Instrument,
        product: Option<&Product>,
        side: Side,
        quantity: Decimal,
        price: Decimal,
    ) -> Decimal {
        let key = (instrument.clone(), product.cloned());
        let before = self.positions.get(&key).map_or(Decimal::ZERO, |position| position.quantity);
        let after = before + signed_quantity(side, quantity);
        (after.abs() - before.abs()).max(Decimal::ZERO) * price
    }

    /// Blocks `amount` for an open order.
    pub(super) fn block(&mut self, amount: Decimal) {
        self.blocked += amount;
    }

    /// Releases what an order blocked.
    pub(super) fn unblock(&mut self, amount: Decimal) {
        self.blocked -= amount;
    }

    /// Books a fill.
    pub(super) fn apply_fill(
        &mut self,
        instrument: &Instrument,
        product: Option<&Product>,
        side: Side,
        quantity: Decimal,
        price: Decimal,
    ) {
        let position = self
            .positions
            .entry((instrument.clone(), product.cloned()))
            .or_insert_with(|| Position::new(instrument.clone(), product.cloned()));
        self.entry_value -= position.quantity.abs() * position.average_price;
        match side {
            Side::Buy => {
                position.buy_quantity += quantity;
                position.buy_value += quantity * price;
            }
            Side::Sell => {
                position.sell_quantity += quantity;
                position.sell_value += quantity * price;
            }
        }
        let before = position.quantity;
        let after = before + signed_quantity(side, quantity);
        let opens = before.is_zero() || before.is_sign_positive() == (side == Side::Buy);
        if opens {
            let value = before.abs() * position.average_price + quantity * price;
            position.average_price = value / after.abs();
        } else {
            let closed = quantity.min(before.abs());
            let gain = (price - position.average_price) * closed;
            let gain = if before.is_sign_positive() { gain } else { -gain };
            self.realised += gain;
            position.realised = Some(position.realised.unwrap_or_default() + gain);
            if after.is_zero() {
                position.average_price = Decimal::ZERO;
            } else if quantity > closed {
                // The fill crossed zero: the rest is a new position at this price.
                position.average_price = price;
            }
        }
        position.quantity = after;
        self.entry_value += after.abs() * position.average_price;
    }

    /// Moves `quantity` of the position in `old`, which `side` opened, to the product `new`, at its average price. No
    /// money moves, unless the position in `new` is on the other side: then both are closed against each other.
    pub(super) fn convert(
        &mut self,
        instrument: &Instrument,
        side: Side,
        quantity: Decimal,
        old: &Product,
        new: &Product,
    ) -> Result<(), PaperError> {
        let key = (instrument.clone(), Some(old.clone()));
        let open = |position: &&mut Position| {
            let open = signed_quantity(side, position.quantity);
            quantity > Decimal::ZERO && quantity <= open
        };
        let Some(position) = self.positions.get_mut(&key).filter(open) else {
            let what = format!("the position in {old} is smaller than {quantity}");
            return Err(PaperError::invalid_field("quantity", what));
        };
        let price = position.average_price;
        match side {
            Side::Buy => {
                position.buy_quantity -= quantity;
                position.buy_value -= quantity * price;
            }
            Side::Sell => {
                position.sell_quantity -= quantity;
                position.sell_value -= quantity * price;
            }
        }
        position.quantity -= signed_quantity(side, quantity);
        if position.quantity.is_zero() {
            position.average_price = Decimal::ZERO;
        }
        self.entry_value -= quantity * price;
        self.apply_fill(instrument, Some(new), side, quantity, price);
        Ok(())
    }

    /// Returns all positions, valued at the prices that `price_of` returns.
    pub(super) fn positions(&self, price_of: impl Fn(&Instrument) -> Option<Decimal>) -> Positions {
        let net: Vec<Position> = self
            .positions
            .values()
            .map(|position| {
                let mut position = position.clone();
                let realised = position.realised.unwrap_or_default();
                position.realised = Some(realised);
                if let Some(price) = price_of(&position.instrument) {
                    let unrealised = (price - position.average_price) * position.quantity;
                    position.last_price = Some(price);
                    position.unrealised = Some(unrealised);
                    position.pnl = Some(realised + unrealised);
                }
                position
            })
            .collect();
        // Nothing is carried overnight here, so the day's view is the same.
        Positions::new(net.clone(), net)
    }

    /// Returns the account's money, all in the segment `equity`.
    pub(super) fn margins(&self) -> Margins {
        let equity = Margin {
            enabled: true,
            net: self.available(),
            available: BTreeMap::from([
                ("cash".to_owned(), self.cash),
                ("opening_balance".to_owned(), self.cash),
                ("live_balance".to_owned(), self.available()),
            ]),
            used: BTreeMap::from([
                ("debits".to_owned(), self.entry_value + self.blocked - self.realised),
                ("exposure".to_owned(), self.entry_value),
                ("m2m_realised".to_owned(), self.realised),
                ("orders".to_owned(), self.blocked),
            ]),
        };
        Margins { segments: BTreeMap::from([("equity".to_owned(), equity)]) }
    }
}

fn signed_quantity(side: Side, quantity: Decimal) -> Decimal {
    match side {
        Side::Buy => quantity,
        Side::Sell => -quantity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn x() -> Instrument {
        Instrument::new("NSE", "X")
    }

    proptest! {
        // The identity that every account statement rests on, whatever the order of the fills.
        #[test]
        fn profit_is_sales_less_purchases_and_what_is_left(
            fills in prop::collection::vec((any::<bool>(), 1_i64..50, 1_i64..500), 1..40),
            last in 1_i64..500,
        ) {
            let mut account = PaperAccount::new(Decimal::from(1_000_000));
            for (buy, quantity, price) in fills {
                let side = if buy { Side::Buy } else { Side::Sell };
                account.apply_fill(&x(), None, side, Decimal::from(quantity), Decimal::from(price));
            }
            let last = Decimal::from(last);
            let position = account.positions(|_| Some(last)).net.remove(0);
            let expected =
                position.sell_value - position.buy_value + position.quantity * last;
            // Averages are quotients, rounded in the 28th digit.
            prop_assert!((position.pnl.unwrap() - expected).abs() < Decimal::new(1, 12));
            prop_assert_eq!(position.quantity, position.buy_quantity - position.sell_quantity);
            let margin = account.margins().segments.remove("equity").unwrap();
            prop_assert!(
                (margin.available["cash"] - margin.used["debits"] - margin.net).abs()
                    < Decimal::new(1, 12)
            );
        }
    }

    proptest! {
        // A conversion changes the positions of two products, and neither their sum nor the money.
        #[test]
        fn conversions_change_no_sum(
            steps in prop::collection::vec(
                (any::<[bool; 2]>(), 1_i64..50, 1_i64..500, 1_i64..50), 1..40
            ),
        ) {
            let mut account = PaperAccount::new(Decimal::from(1_000_000));
            let products = [Product::Mis, Product::Cnc];
            let (mut bought, mut spent) = (Decimal::ZERO, Decimal::ZERO);
            for ([buy, mis], quantity, price, converted) in steps {
                let side = if buy { Side::Buy } else { Side::Sell };
                let [quantity, price] = [quantity, price].map(Decimal::from);
                let [old, new] = match mis { true => [0, 1], false => [1, 0] };
                account.apply_fill(&x(), Some(&products[old]), side, quantity, price);
                bought += signed_quantity(side, quantity);
                spent += signed_quantity(side, quantity) * price;
                // Some are refused, and change nothing either.
                let _ = account.convert(
                    &x(), side, converted.into(), &products[old], &products[new],
                );
            }
            let last = Decimal::from(250);
            let positions = account.positions(|_| Some(last)).net;
            let sum = |of: fn(&Position) -> Decimal| positions.iter().map(of).sum::<Decimal>();
            prop_assert_eq!(sum(|it| it.quantity), bought);
            prop_assert_eq!(sum(|it| it.buy_quantity - it.sell_quantity), bought);
            let close = |a: Decimal, b: Decimal| (a - b).abs() < Decimal::new(1, 12);
            prop_assert!(close(sum(|it| it.pnl.unwrap()), bought * last - spent));
            prop_assert!(close(sum(|it| it.buy_value - it.sell_value), spent));
            let entry = sum(|it| it.quantity.abs() * it.average_price);
            prop_assert!(close(account.entry_value, entry));
        }
    }

    #[test]
    fn closing_needs_no_money_and_turning_round_needs_it_for_the_rest() {
        let mut account = PaperAccount::new(Decimal::from(1000));
        let (three, ten) = (Decimal::from(3), Decimal::from(10));
        account.apply_fill(&x(), None, Side::Buy, three, ten);
        assert_eq!(account.available(), Decimal::from(970));
        let needed = |quantity: i64| {
            account.required_margin(
                &x(),
                None,
                Side::Sell,
                Decimal::from(quantity),
                Decimal::from(20),
            )
        };
        assert_eq!(needed(3), Decimal::ZERO);
        assert_eq!(needed(6), Decimal::ZERO);
        assert_eq!(needed(8), Decimal::from(40));
    }

    #[test]
    fn a_conversion_moves_a_position_and_no_money() {
        let mut account = PaperAccount::new(Decimal::from(1000));
        let [three, ten, twenty] = [3, 10, 20].map(Decimal::from);
        let (mis, cnc) = (Product::Mis, Product::Cnc);
        account.apply_fill(&x(), Some(&mis), Side::Sell, three, ten);
        let before = account.margins();
        for (side, quantity) in [(Side::Sell, 4), (Side::Buy, 1), (Side::Sell, 0), (Side::Sell, -1)]
        {
            assert!(account.convert(&x(), side, quantity.into(), &mis, &cnc).is_err());
        }
        assert!(account.convert(&x(), Side::Sell, three, &cnc, &mis).is_err());
        account.convert(&x(), Side::Sell, Decimal::TWO, &mis, &cnc).unwrap();
        assert_eq!(account.margins(), before);
        let positions = account.positions(|_| Some(twenty)).net;
        let row = |position: &Position| {
            let sold = (position.sell_quantity, position.sell_value);
            (position.quantity, position.average_price, sold, position.pnl)
        };
        let [two, one] = [2, 1].map(Decimal::from);
        assert_eq!(row(&positions[0]), (-two, ten, (two, twenty), Some(-twenty)));
        assert_eq!(row(&positions[1]), (-one, ten, (one, ten), Some(-ten)));

        // The rest meets a position on the other side, and both are closed at a loss of 5.
        account.apply_fill(&x(), Some(&Product::Nrml), Side::Buy, one, Decimal::from(15));
        account.convert(&x(), Side::Sell, one, &mis, &Product::Nrml).unwrap();
        let positions = account.positions(|_| Some(twenty)).net;
        assert_eq!(positions.iter().filter(|it| it.quantity.is_zero()).count(), 2);
        assert_eq!(account.realised, Decimal::from(-5));
        assert_eq!(account.entry_value, twenty);
    }
}
