//! What a trading day needs, with each official client behind the gateway.

use lanekeeper::broker::OrderStatus;
use lanekeeper_simulator::SimulatedExchange;
use rust_decimal::Decimal;
use serde_json::json;

use crate::gateway::GatewayProcess;
use crate::official::{Call, with_each};

const YES: &str = "NSE:YESBANK";
const JUNIOR: &str = "NSE:JUNIORBEES";

#[test]
fn the_official_clients_read_prices_and_the_account_and_trade_through_the_gateway() {
    with_each(|client| {
        let exchange = SimulatedExchange::builder().circuit_limits(false).start().unwrap();
        let gateway = GatewayProcess::start(&["--upstream", &exchange.base_url()]);
        client.root(&gateway.url);

        let listing = client.call(Call::Instruments).unwrap();
        let listed = |row: &&serde_json::Value| row["tradingsymbol"] == "YESBANK";
        let token = listing.as_array().unwrap().iter().find(listed).unwrap();
        // The JavaScript client leaves it as a text.
        let token = token["instrument_token"].to_string().trim_matches('"').parse::<u64>().unwrap();
        for (call, fields) in [
            (Call::Quote(&[YES, JUNIOR]), &["last_price", "ohlc", "depth", "volume"][..]),
            (Call::Ohlc(&[YES, JUNIOR]), &["last_price", "ohlc"]),
            (Call::Ltp(&[YES, JUNIOR]), &["last_price"]),
        ] {
            let rows = client.call(call).unwrap();
            assert_eq!(rows.as_object().unwrap().len(), 2, "{rows}");
            assert_eq!(rows[YES]["instrument_token"], token, "{rows}");
            for row in [&rows[YES], &rows[JUNIOR]] {
                assert!(fields.iter().all(|field| !row[field].is_null()), "{call:?}: {row}");
            }
        }
        assert_eq!(exchange.counts("quote").admitted, 1, "one batch for three calls");

        let margins = client.call(Call::Margins).unwrap();
        assert_eq!(margins["equity"]["available"]["cash"], 10_000_000, "{margins}");

        let tagged = client.place(&[("tag", json!("smoke1"))]);
        let untagged = client.place(&[("tradingsymbol", json!("JUNIORBEES"))]);
        client.call(Call::Modify(&untagged, 7)).unwrap();
        client.call(Call::Cancel(&tagged)).unwrap();
        let orders = client.call(Call::Orders).unwrap();
        let shown: Vec<_> = orders
            .as_array()
            .unwrap()
            .iter()
            .map(|order| (order["order_id"].as_str().unwrap(), order["status"].as_str().unwrap()))
            .collect();
        assert_eq!(shown, [(tagged.as_str(), "CANCELLED"), (untagged.as_str(), "OPEN")]);
        let history = client.call(Call::History(&untagged)).unwrap();
        assert_eq!(history.as_array().unwrap().last().unwrap()["quantity"], 7, "{history}");

        let booked = exchange.orders();
        let ids: Vec<_> = booked.iter().map(|order| order.id.as_str()).collect();
        assert_eq!(ids, [tagged.as_str(), untagged.as_str()], "{}", client.language());
        assert_eq!(booked[0].tag.as_deref(), Some("smoke1"));
        assert_eq!(booked[0].status, OrderStatus::Cancelled);
        assert!(booked[1].tag.is_some(), "an order without a tag could not be found again");
        assert_eq!(booked[1].quantity, Decimal::from(7));
        assert_eq!(exchange.refused(), 0);
    });
}
