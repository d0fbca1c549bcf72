"""What a newcomer tries first, with the official client, on `lanekeeper exchange` as it starts without arguments.

Usage: first_steps.py BASE_URL
"""

import datetime
import sys

from kiteconnect import KiteConnect, exceptions

INDIA = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
INFY = "NSE:INFY"
NIFTY = "NSE:NIFTY 50"


def listing(kite):
    listed = {item["tradingsymbol"]: item for item in kite.instruments("NSE")}
    assert len(listed) == 34, sorted(listed)
    assert listed["INFY"]["name"] == "INFOSYS (synthetic)", listed["INFY"]
    assert (listed["INFY"]["tick_size"], listed["MARUTI"]["tick_size"]) == (0.1, 1)
    assert listed["YESBANK"]["name"] == "YESBANK", listed["YESBANK"]
    assert listed["NIFTY 50"]["segment"] == "INDICES", listed["NIFTY 50"]
    return listed


def quotes(kite, listed):
    found = kite.quote(INFY, NIFTY)
    assert sorted(found) == [INFY, NIFTY], found
    infy, nifty = found[INFY], found[NIFTY]
    assert infy["instrument_token"] == listed["INFY"]["instrument_token"]
    assert infy["lower_circuit_limit"] < infy["last_price"] < infy["upper_circuit_limit"], infy
    assert infy["ohlc"]["low"] <= infy["last_price"] <= infy["ohlc"]["high"], infy
    assert infy["ohlc"]["close"] > 0 and infy["volume"] > 0, infy
    assert nifty["last_price"] > 10000 and nifty["volume"] == 0, nifty
    return infy


def orders(kite, quote):
    order = dict(
        variety="regular", exchange="NSE", tradingsymbol="INFY", transaction_type="BUY", quantity=1,
        product="CNC")
    filled = kite.place_order(order_type="MARKET", market_protection=-1, **order)
    resting = kite.place_order(order_type="LIMIT", price=quote["lower_circuit_limit"], **order)
    book = {entry["order_id"]: entry["status"] for entry in kite.orders()}
    assert book == {filled: "COMPLETE", resting: "OPEN"}, book
    for wrong, message in (
            (dict(price=round(quote["lower_circuit_limit"] - 1, 2)), "lower circuit limit"),
            (dict(price=round(quote["upper_circuit_limit"] + 1, 2)), "upper circuit limit"),
            (dict(price=round(quote["last_price"] + 0.05, 2)), "Tick size for this script is 0.10"),
            (dict(price=25000, tradingsymbol="NIFTY 50"), "an index cannot be traded")):
        try:
            kite.place_order(order_type="LIMIT", **dict(order, **wrong))
        except exceptions.InputException as error:
            assert error.code == 400 and message in str(error), error
        else:
            raise AssertionError("%s was not rejected" % wrong)


def last_thirty_days(kite, token):
    now = datetime.datetime.now(INDIA).replace(tzinfo=None)
    begin = now - datetime.timedelta(days=30)
    # Between the two days are 29 more. 20 of them are weekdays, and the last of these may be the one that is replayed.
    for interval, in_a_day in (("day", 1), ("60minute", 7), ("minute", 375)):
        candles = kite.historical_data(token, begin, now, interval)
        assert len(candles) >= 19 * in_a_day, (interval, len(candles))
        times = [candle["date"].replace(tzinfo=None) for candle in candles]
        assert times == sorted(times) and begin <= times[0] and times[-1] <= now, interval
        assert all(time.weekday() < 5 for time in times), interval
        if interval != "day":
            opening, end = datetime.time(9, 15), datetime.time(15, 29)
            assert all(opening <= time.time() <= end for time in times), interval
        assert all(candle["low"] <= candle["close"] <= candle["high"] for candle in candles)
        assert all(candle["volume"] > 0 for candle in candles), interval


def main():
    kite = KiteConnect(api_key="key", access_token="token", root=sys.argv[1])
    listed = listing(kite)
    quote = quotes(kite, listed)
    orders(kite, quote)
    last_thirty_days(kite, listed["INFY"]["instrument_token"])
    print("ok")


main()
