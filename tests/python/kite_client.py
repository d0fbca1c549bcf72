"""Drives the official client, unmodified, against an exchange at the address given.

Usage: kite_client.py BASE_URL PACED_BASE_URL

The first exchange has room for many calls; the second one allows a single quote a minute.
Asserts values and types, not just that nothing was raised.
"""

import datetime
import sys

from checks import number, raises, recent
from kiteconnect import KiteConnect, exceptions

YES = "NSE:YESBANK"
JUNIOR = "NSE:JUNIORBEES"


def session(root):
    kite = KiteConnect(api_key="key", root=root)
    raises(exceptions.TokenException, 403, kite.profile)
    data = kite.generate_session("request", api_secret="secret")
    assert data["access_token"] and data["access_token"] == kite.access_token
    assert data["api_key"] == "key"
    assert data["user_id"] == "PAPER1"
    assert recent(data["login_time"]), data["login_time"]
    profile = kite.profile()
    assert profile["user_id"] == data["user_id"]
    assert profile["exchanges"] == ["NSE"]
    assert profile["order_types"] == ["MARKET", "LIMIT", "SL", "SL-M"]
    return kite


def market_order(kite):
    order_id = kite.place_order(
        variety=kite.VARIETY_REGULAR, exchange="NSE", tradingsymbol="YESBANK",
        transaction_type=kite.TRANSACTION_TYPE_BUY, quantity=10, product=kite.PRODUCT_CNC,
        order_type=kite.ORDER_TYPE_MARKET, market_protection=-1, tag="alpha1")
    assert isinstance(order_id, str) and len(order_id) == 15 and order_id.isdigit(), order_id

    history = kite.order_history(order_id)
    assert [state["status"] for state in history] == [
        "PUT ORDER REQ RECEIVED", "OPEN", "COMPLETE"], history
    assert history[0]["exchange_order_id"] is None
    assert history[0]["exchange_timestamp"] is None
    done = history[-1]
    assert recent(done["order_timestamp"]) and recent(done["exchange_timestamp"])
    assert len(done["exchange_update_timestamp"]) == 19
    assert done["order_id"] == order_id
    assert (done["exchange"], done["tradingsymbol"]) == ("NSE", "YESBANK")
    assert (done["transaction_type"], done["order_type"]) == ("BUY", "MARKET")
    assert (done["product"], done["validity"], done["variety"]) == ("CNC", "DAY", "regular")
    assert (done["quantity"], done["filled_quantity"], done["pending_quantity"]) == (10, 10, 0)
    assert (done["price"], done["trigger_price"], done["disclosed_quantity"]) == (0, 0, 0)
    assert number(done["average_price"]) and done["average_price"] > 0
    assert (done["tag"], done["tags"]) == ("alpha1", ["alpha1"])
    assert done["parent_order_id"] is None and done["status_message"] is None
    assert done["modified"] is False and done["meta"] == {}

    for trades in (kite.trades(), kite.order_trades(order_id)):
        trade, = trades
        assert trade["order_id"] == order_id
        assert trade["exchange_order_id"] == done["exchange_order_id"]
        assert (trade["quantity"], trade["average_price"]) == (10, done["average_price"])
        assert recent(trade["fill_timestamp"]), trade
        datetime.time.fromisoformat(trade["order_timestamp"])

    positions = kite.positions()
    assert positions["net"] == positions["day"]
    position, = positions["net"]
    assert (position["tradingsymbol"], position["product"]) == ("YESBANK", "CNC")
    assert (position["quantity"], position["buy_quantity"]) == (10, 10)
    assert position["average_price"] == done["average_price"]
    assert number(position["pnl"]) and number(position["last_price"])


def resting_order(kite):
    order = dict(
        variety="regular", exchange="NSE", tradingsymbol="JUNIORBEES", transaction_type="BUY",
        quantity=5, product="MIS", order_type="LIMIT", price=1.05)
    order_id = kite.place_order(**order)
    assert kite.order_history(order_id)[-1]["status"] == "OPEN"
    assert kite.modify_order("regular", order_id, quantity=7, price=1.5) == order_id
    state = kite.order_history(order_id)[-1]
    assert (state["status"], state["quantity"], state["price"]) == ("OPEN", 7, 1.5), state
    assert state["modified"] is True and "tags" not in state and state["tag"] is None
    assert kite.cancel_order("regular", order_id) == order_id
    state = kite.order_history(order_id)[-1]
    assert (state["status"], state["cancelled_quantity"]) == ("CANCELLED", 7), state
    raises(exceptions.OrderException, 400, lambda: kite.cancel_order("regular", order_id))
    raises(exceptions.GeneralException, 404, lambda: kite.cancel_order("amo", order_id))
    assert kite.order_trades(order_id) == []

    stop = dict(order, order_type="SL", transaction_type="SELL", trigger_price=2, price=1)
    stop_id = kite.place_order(**stop)
    state = kite.order_history(stop_id)[-1]
    assert (state["status"], state["order_type"]) == ("TRIGGER PENDING", "SL"), state
    assert (state["trigger_price"], state["price"]) == (2, 1)

    ids = [entry["order_id"] for entry in kite.orders()]
    assert len(ids) == 3 and ids[1:] == [order_id, stop_id], ids
    assert all(recent(entry["order_timestamp"]) for entry in kite.orders())

    for change in range(25):
        kite.modify_order("regular", stop_id, quantity=5 + change)
    raises(exceptions.NetworkException, 400,
           lambda: kite.modify_order("regular", stop_id, quantity=1),
           "Maximum allowed order modifications exceeded.")


def refused_orders(kite):
    order = dict(
        variety="regular", exchange="NSE", tradingsymbol="YESBANK", transaction_type="BUY",
        quantity=1, product="CNC", order_type="MARKET", market_protection=-1)
    for wrong in (
            dict(variety="amo"), dict(variety="co"), dict(variety="iceberg"),
            dict(variety="auction"), dict(tradingsymbol="NOSUCH"), dict(transaction_type="HOLD"),
            dict(quantity=0), dict(quantity=-1), dict(quantity=1.5), dict(product="XYZ"),
            dict(order_type="LIMIT"), dict(order_type="PEGGED"), dict(validity="NEVER"),
            dict(tag="not one word"), dict(tag="x" * 21), dict(price="ten"),
            dict(market_protection=None), dict(market_protection=101)):
        raises(exceptions.InputException, 400, lambda: kite.place_order(**dict(order, **wrong)))
    raises(exceptions.GeneralException, 405,
           lambda: kite.place_order(**dict(order, variety="urgent")), "Request method not allowed")
    raises(exceptions.GeneralException, 404, lambda: kite.order_history("1"))
    poor = kite.place_order(**dict(order, quantity=100000, order_type="LIMIT", price=1000))
    state = kite.order_history(poor)[-1]
    assert state["status"] == "REJECTED" and "Insufficient funds" in state["status_message"]
    assert state["exchange_order_id"] is None and state["exchange_timestamp"] is None


def sliced_order(kite):
    order = dict(
        variety="regular", exchange="NSE", tradingsymbol="JUNIORBEES", transaction_type="BUY",
        quantity=250000, product="MIS", order_type="LIMIT", price=1, tag="large")
    raises(exceptions.InputException, 400, lambda: kite.place_order(**order),
           "is higher than the maximum quantity of 100000")
    placed = kite.place_autoslice_order(**order)
    parent, children = placed["order_id"], [child["order_id"] for child in placed["children"]]
    assert len(children) == 2, placed
    slices = [entry for entry in kite.orders() if "autoslice" in entry.get("tags", [])]
    assert [entry["order_id"] for entry in slices] == [parent] + children
    assert [entry["quantity"] for entry in slices] == [100000, 100000, 50000]
    assert [entry["tags"] for entry in slices] == [["large", "autoslice"]] + [
        ["large", "autoslice", "autoslice:" + parent]] * 2
    for entry in slices:
        kite.cancel_order("regular", entry["order_id"])


def account(kite):
    margins = kite.margins()
    assert margins["equity"]["enabled"] is True and margins["commodity"]["enabled"] is False
    assert margins["equity"]["available"]["cash"] == 10000000
    assert 0 < margins["equity"]["net"] < 10000000
    assert number(margins["equity"]["utilised"]["debits"])
    assert kite.margins("equity") == margins["equity"]
    assert kite.margins(segment="commodity") == margins["commodity"]
    holding, = kite.holdings()
    assert (holding["tradingsymbol"], holding["quantity"]) == ("JUNIORBEES", 4)
    assert holding["average_price"] == 280.5
    expected = (holding["last_price"] - 280.5) * 4
    assert abs(holding["pnl"] - expected) < 1e-6, holding


def prices(kite):
    listed = kite.instruments()
    assert listed == kite.instruments("NSE")
    assert kite.instruments("BSE") == []
    tokens = {item["tradingsymbol"]: item["instrument_token"] for item in listed}
    assert sorted(tokens) == ["JUNIORBEES", "YESBANK"]
    item = listed[0]
    assert (item["tick_size"], item["lot_size"], item["expiry"]) == (0.05, 1, "")
    assert (item["instrument_type"], item["segment"], item["exchange"]) == ("EQ", "NSE", "NSE")

    quotes = kite.quote([YES, JUNIOR, "NSE:NOSUCH"])
    assert sorted(quotes) == [JUNIOR, YES]
    quote = quotes[YES]
    assert quote["instrument_token"] == tokens["YESBANK"]
    assert recent(quote["timestamp"]) and recent(quote["last_trade_time"])
    assert quote["ohlc"]["low"] <= quote["last_price"] <= quote["ohlc"]["high"]
    assert len(quote["depth"]["buy"]) == len(quote["depth"]["sell"]) == 5
    assert quote["depth"]["buy"][0]["price"] < quote["last_price"] < quote["depth"]["sell"][0]["price"]
    ohlc = kite.ohlc(YES)[YES]
    assert set(ohlc) == {"instrument_token", "last_price", "ohlc"}
    assert set(ohlc["ohlc"]) == {"open", "high", "low", "close"}
    ltp = kite.ltp(YES, JUNIOR)
    assert sorted(ltp) == [JUNIOR, YES]
    assert number(ltp[YES]["last_price"]) and ltp[YES]["instrument_token"] == tokens["YESBANK"]
    assert kite.ltp("NSE:NOSUCH") == {}
    raises(exceptions.InputException, 400, kite.ltp)

    india = datetime.timedelta(hours=5, minutes=30)
    begin = datetime.datetime(2019, 1, 1, 9, 15)
    end = datetime.datetime(2019, 1, 1, 9, 18)
    candles = kite.historical_data(tokens["JUNIORBEES"], begin, end, "minute")
    assert len(candles) == 4
    first = candles[0]
    assert first["date"].replace(tzinfo=None) == begin and first["date"].utcoffset() == india
    assert (first["open"], first["high"], first["low"], first["close"]) == (290, 292, 290, 292)
    assert first["volume"] == 3 and "oi" not in first
    days = kite.historical_data(tokens["JUNIORBEES"], "2019-01-01", "2019-01-02", "day", oi=True)
    assert [day["date"].day for day in days] == [1, 2]
    assert all(day["oi"] == 0 for day in days)
    bad = lambda *args: lambda: kite.historical_data(*args)
    raises(exceptions.InputException, 400, bad(1, begin, end, "minute"))
    raises(exceptions.InputException, 400, bad(tokens["YESBANK"], end, begin, "minute"))
    raises(exceptions.InputException, 400, bad(tokens["YESBANK"], begin, end, "7minute"))
    raises(exceptions.InputException, 400, bad(tokens["YESBANK"], "soon", end, "minute"))
    raises(exceptions.InputException, 400,
           bad(tokens["YESBANK"], "2019-01-01", "2019-12-31", "minute"), "60 days")


def throttled(root):
    kite = KiteConnect(api_key="key", access_token="token", root=root)
    assert number(kite.ltp(YES)[YES]["last_price"])
    for call in (kite.ltp, kite.ohlc, kite.quote):
        raises(exceptions.NetworkException, 429, lambda: call(YES), "Too many requests")
    assert kite.profile()["user_id"] == "PAPER1"


def main():
    roomy, paced = sys.argv[1:]
    kite = session(roomy)
    market_order(kite)
    resting_order(kite)
    refused_orders(kite)
    sliced_order(kite)
    account(kite)
    prices(kite)
    throttled(paced)
    assert kite.invalidate_access_token() is True
    raises(exceptions.TokenException, 403, kite.profile)
    print("ok")


main()
