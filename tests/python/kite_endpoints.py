"""Calls every REST method of the official client, unmodified, against an exchange at the address given.

Usage: kite_endpoints.py BASE_URL

The prices of the exchange do not move, and it has room for many calls. The account holds 4 JUNIORBEES, and 25 units of
the mutual fund INF000P01011. At the end every public method and every route of the client must have been used: a new
version of the client that has more fails here, and shows what the exchange lacks.
"""

import datetime
import sys

from calls import everything_was_called, record_calls
from checks import raises, recent
from kiteconnect import KiteConnect, exceptions

INPUT = exceptions.InputException
GENERAL = exceptions.GeneralException
TOKEN = exceptions.TokenException

YES = "NSE:YESBANK"
FUND = "INF000P01011"
SMALL_FUND = "INF000P01029"


def seconds(text):
    """A time as the client leaves it in GTTs: text."""
    return recent(datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S"))


def sessions(root):
    kite = KiteConnect(api_key="key", root=root)
    raises(TOKEN, 403, kite.profile)
    first = kite.generate_session("request", api_secret="secret")
    renewed = kite.renew_access_token(first["refresh_token"], api_secret="secret")
    assert renewed["access_token"] == kite.access_token != first["access_token"]
    assert renewed["user_id"] == first["user_id"] == "PAPER1"
    assert kite.profile()["user_id"] == "PAPER1"
    assert kite.invalidate_refresh_token(first["refresh_token"]) is True
    raises(TOKEN, 403, lambda: kite.renew_access_token(first["refresh_token"], "secret"))
    raises(TOKEN, 403, lambda: kite.renew_access_token("never", "secret"))
    assert kite.invalidate_access_token(first["access_token"]) is True
    other = KiteConnect(api_key="key", access_token=first["access_token"], root=root)
    raises(TOKEN, 403, other.profile)
    return kite


def order(**changes):
    return dict(dict(
        variety="regular", exchange="NSE", tradingsymbol="YESBANK", transaction_type="BUY",
        quantity=10, product="MIS", order_type="MARKET", market_protection=-1), **changes)


def orders(kite):
    placed = kite.place_order(**order())
    assert [entry["order_id"] for entry in kite.orders()] == [placed]
    assert kite.order_history(placed)[-1]["status"] == "COMPLETE"
    trade, = kite.trades()
    assert kite.order_trades(placed) == [trade] and trade["order_id"] == placed
    limit = order(order_type="LIMIT", price=1, market_protection=None)
    resting = kite.place_order(**limit)
    assert kite.modify_order("regular", resting, quantity=7) == resting
    assert kite.cancel_order("regular", resting) == resting
    # A cover order is ended by a cancellation. Those are not simulated, so a regular one stands in.
    resting = kite.place_order(**limit)
    assert kite.exit_order("regular", resting) == resting
    sliced = kite.place_autoslice_order(**dict(limit, quantity=150000))
    assert len(sliced["children"]) == 1
    for order_id in [sliced["order_id"], sliced["children"][0]["order_id"]]:
        kite.cancel_order("regular", order_id)


def positions(kite):
    def quantities():
        return {row["product"]: row["quantity"] for row in kite.positions()["net"]}

    assert quantities() == {"MIS": 10}
    before = kite.margins("equity")
    move = dict(exchange="NSE", tradingsymbol="YESBANK", transaction_type="BUY",
                position_type="day", quantity=4, old_product="MIS", new_product="CNC")
    assert kite.convert_position(**move) is True
    assert quantities() == {"MIS": 6, "CNC": 4}
    assert kite.margins("equity") == before
    for wrong in (dict(quantity=7), dict(quantity=0), dict(transaction_type="SELL"),
                  dict(position_type="overnight"), dict(position_type="x"), dict(quantity=None),
                  dict(new_product="MIS"), dict(old_product="NRML"), dict(tradingsymbol="NONE")):
        raises(INPUT, 400, lambda: kite.convert_position(**dict(move, **wrong)))
    assert quantities() == {"MIS": 6, "CNC": 4}


def holdings(kite):
    held, = kite.holdings()
    assert (held["tradingsymbol"], held["quantity"]) == ("JUNIORBEES", 4)
    for zero in ("authorised_quantity", "collateral_quantity", "used_quantity", "short_quantity"):
        assert held[zero] == 0, zero
    assert held["collateral_type"] == "" and held["mtf"]["quantity"] == 0
    assert kite.get_auction_instruments() == []


def margins(kite):
    both = kite.margins()
    assert kite.margins("equity") == both["equity"]
    assert kite.margins("commodity") == both["commodity"]
    price = kite.ltp(YES)[YES]["last_price"]

    buy = dict(exchange="NSE", tradingsymbol="YESBANK", transaction_type="BUY", variety="regular",
               product="NRML", order_type="MARKET", quantity=10, price=0, trigger_price=0)
    sell = dict(buy, transaction_type="SELL", order_type="LIMIT", price=200, quantity=4)
    one, two = kite.order_margins([buy, sell])
    assert (one["tradingsymbol"], one["exchange"], one["type"]) == ("YESBANK", "NSE", "equity")
    assert abs(one["total"] - 10 * price) < 1e-6 and one["var"] == one["total"]
    assert two["total"] == 800 and two["charges"]["total"] > 0 and one["leverage"] == 1
    assert one["charges"]["transaction_tax_type"] == "stt" and one["pnl"]["realised"] == 0
    # What closes a position needs no margin: there are 4 in CNC.
    assert kite.order_margins([dict(sell, product="CNC")])[0]["total"] == 0

    basket = kite.basket_order_margins([buy, sell])
    assert basket["orders"] == [one, two]
    assert basket["initial"]["total"] == one["total"] + two["total"]
    assert abs(basket["final"]["total"] - 6 * 200) < 1e-6
    assert basket["charges"]["brokerage"] > 0
    close = [dict(sell, product="CNC")]
    assert kite.basket_order_margins(close)["final"]["total"] == 0
    assert kite.basket_order_margins(close, consider_positions=False)["final"]["total"] == 800
    compact = kite.basket_order_margins([buy, sell], mode="compact")
    assert compact["initial"]["total"] == basket["initial"]["total"]
    assert "span" not in compact["initial"]

    done = dict(buy, order_id="1", average_price=100)
    note, = kite.get_virtual_contract_note([done])
    assert (note["quantity"], note["price"], note["product"]) == (10, 100, "NRML")
    charges = note["charges"]
    parts = ("transaction_tax", "exchange_turnover_charge", "sebi_turnover_charge", "brokerage",
             "stamp_duty")
    total = sum(charges[part] for part in parts) + charges["gst"]["total"]
    assert abs(charges["total"] - total) < 1e-9 and charges["brokerage"] == 0.3

    for name in ("exchange", "tradingsymbol", "transaction_type", "variety", "product",
                 "order_type", "quantity"):
        incomplete = {key: value for key, value in done.items() if key != name}
        for call in (kite.order_margins, kite.basket_order_margins,
                     kite.get_virtual_contract_note):
            raises(INPUT, 400, lambda: call([incomplete]), "`%s`" % name)
    raises(INPUT, 400, lambda: kite.order_margins([]))
    raises(INPUT, 400, lambda: kite.order_margins([dict(buy, tradingsymbol="NONE")]))
    raises(INPUT, 400, lambda: kite.basket_order_margins([buy], mode="small"))


def prices(kite):
    assert {row["tradingsymbol"] for row in kite.instruments()} == {"YESBANK", "JUNIORBEES"}
    token = kite.instruments("NSE")[0]["instrument_token"]
    quote, ohlc, ltp = kite.quote(YES)[YES], kite.ohlc(YES)[YES], kite.ltp(YES)[YES]
    assert quote["last_price"] == ohlc["last_price"] == ltp["last_price"]
    assert len(kite.historical_data(token, "2019-01-01", "2019-01-02", "day")) == 2
    price = ltp["last_price"]
    buy = kite.trigger_range(kite.TRANSACTION_TYPE_BUY, YES, "NSE:NONE")
    sell = kite.trigger_range(kite.TRANSACTION_TYPE_SELL, [YES])
    assert set(buy) == {YES} and buy[YES]["instrument_token"] == ltp["instrument_token"]
    assert 0 < buy[YES]["lower"] < buy[YES]["upper"] == price == sell[YES]["lower"]
    assert sell[YES]["upper"] > price
    raises(INPUT, 400, lambda: kite.trigger_range("HOLD", YES))
    raises(INPUT, 400, lambda: kite.trigger_range("BUY"))


def gtts(kite):
    price = kite.ltp(YES)[YES]["last_price"]
    low, high = round(price * 0.9, 1), round(price * 1.1, 1)
    leg = dict(transaction_type="SELL", quantity=1, order_type="LIMIT", product="CNC", price=low)

    def single(trigger=low, last_price=price, orders=(leg,), symbol="YESBANK"):
        return dict(trigger_type=kite.GTT_TYPE_SINGLE, tradingsymbol=symbol, exchange="NSE",
                    trigger_values=[trigger], last_price=last_price, orders=list(orders))

    two_leg = dict(single(), trigger_type=kite.GTT_TYPE_OCO, trigger_values=[low, high],
                   orders=[leg, dict(leg, price=high)])
    assert kite.get_gtts() == []
    first = kite.place_gtt(**single())["trigger_id"]
    second = kite.place_gtt(**two_leg)["trigger_id"]
    assert isinstance(first, int) and isinstance(second, int) and first != second
    assert [gtt["id"] for gtt in kite.get_gtts()] == [second, first]

    gtt = kite.get_gtt(first)
    assert gtt in kite.get_gtts()
    assert (gtt["id"], gtt["type"], gtt["status"]) == (first, "single", "active")
    assert gtt["user_id"] == "PAPER1" and gtt["parent_trigger"] is None
    assert gtt["condition"] == {
        "exchange": "NSE", "tradingsymbol": "YESBANK", "trigger_values": [low],
        "last_price": price, "instrument_token": kite.ltp(YES)[YES]["instrument_token"]}
    assert gtt["orders"] == [dict(leg, exchange="NSE", tradingsymbol="YESBANK", result=None)]
    assert seconds(gtt["created_at"]) and seconds(gtt["updated_at"])
    assert gtt["expires_at"] > gtt["created_at"]
    assert [order["price"] for order in kite.get_gtt(second)["orders"]] == [low, high]

    changed = single(orders=[dict(leg, quantity=3)])
    assert kite.modify_gtt(first, **changed) == {"trigger_id": first}
    assert kite.get_gtt(first)["orders"][0]["quantity"] == 3
    raises(INPUT, 400, lambda: kite.modify_gtt(first, **two_leg), "`type`")
    raises(INPUT, 400, lambda: kite.modify_gtt(first, **single(symbol="JUNIORBEES", trigger=100,
                                                               last_price=250)))

    assert kite.delete_gtt(first) == {"trigger_id": first}
    assert [gtt["id"] for gtt in kite.get_gtts()] == [second]
    assert kite.get_gtt(first)["status"] == kite.GTT_STATUS_DELETED
    raises(INPUT, 400, lambda: kite.delete_gtt(first))
    raises(INPUT, 400, lambda: kite.modify_gtt(first, **changed))
    for unknown in (lambda: kite.get_gtt(1), lambda: kite.delete_gtt(1),
                    lambda: kite.modify_gtt(1, **changed)):
        raises(GENERAL, 404, unknown, "Trigger not found")

    for wrong, message in (
            (single(trigger=price), "equal to the last price"),
            (dict(two_leg, trigger_values=[high, low]), "first trigger price more than"),
            (single(last_price=1), "Trigger already met"),
            (single(trigger=0), "`trigger_values`"),
            (single(symbol="NONE"), "`tradingsymbol`"),
            (single(last_price=0), "`last_price`"),
            (single(orders=[leg, leg]), "`orders`"),
            (single(orders=[dict(leg, quantity=0)]), "`quantity`"),
            (single(orders=[dict(leg, price=low + 0.01)]), "Tick size"),
            (single(orders=[dict(leg, price=0)]), "`price`"),
            (single(orders=[dict(leg, order_type="SL")]), "`order_type`"),
            (single(orders=[dict(leg, product="MIS")]), "`product`"),
            (single(orders=[dict(leg, transaction_type="HOLD")]), "`transaction_type`")):
        raises(INPUT, 400, lambda: kite.place_gtt(**wrong), message)
    kite.delete_gtt(second)
    assert kite.get_gtts() == []


def fund_orders(kite):
    funds = {fund["tradingsymbol"]: fund for fund in kite.mf_instruments()}
    fund = funds[FUND]
    assert len(funds) == 3 and fund["minimum_purchase_amount"] == 5000
    assert fund["purchase_allowed"] is True and fund["redemption_allowed"] is True
    assert isinstance(fund["last_price_date"], datetime.date) and fund["last_price"] > 0
    held, = kite.mf_holdings()
    assert (held["tradingsymbol"], held["quantity"]) == (FUND, 25)
    assert (held["average_price"], held["last_price"]) == (100, fund["last_price"])

    assert kite.mf_orders() == []
    buy = kite.place_mf_order(FUND, kite.TRANSACTION_TYPE_BUY, amount=5000, tag="one")["order_id"]
    sell = kite.place_mf_order(FUND, kite.TRANSACTION_TYPE_SELL, quantity=2.5)["order_id"]
    assert len(buy) == 36 and [it["order_id"] for it in kite.mf_orders()] == [sell, buy]
    bought, sold = kite.mf_orders(buy), kite.mf_orders(sell)
    assert bought in kite.mf_orders() and recent(bought["order_timestamp"])
    assert (bought["status"], bought["amount"], bought["tag"]) == ("OPEN", 5000, "one")
    assert (bought["fund"], bought["purchase_type"]) == (fund["name"], "ADDITIONAL")
    assert (sold["quantity"], sold["amount"], sold["purchase_type"]) == (2.5, 0, None)
    assert kite.cancel_mf_order(buy) == {"order_id": buy}
    assert kite.mf_orders(buy)["status"] == "CANCELLED"
    raises(INPUT, 400, lambda: kite.cancel_mf_order(buy))
    for unknown in (lambda: kite.mf_orders("1"), lambda: kite.cancel_mf_order(sell[:-4] + "0000")):
        raises(GENERAL, 404, unknown, "`order_id`")
    for args, more in ((("NONE", "BUY"), dict(amount=5000)), ((FUND, "BUY"), dict()),
                       ((FUND, "BUY"), dict(amount=1)), ((FUND, "BUY"), dict(amount=-5000)),
                       ((FUND, "BUY"), dict(amount=5000, quantity=1)), ((FUND, "SELL"), dict()),
                       ((FUND, "SELL"), dict(quantity=23)), ((FUND, "HOLD"), dict(amount=5000)),
                       ((SMALL_FUND, "SELL"), dict(quantity=1)),
                       ((FUND, "BUY"), dict(amount=5000, tag="x" * 21)),
                       (("INF000P01037", "BUY"), dict(amount=5000))):
        raises(INPUT, 400, lambda: kite.place_mf_order(*args, **more))


def fund_sips(kite):
    assert kite.mf_sips() == []
    plan = dict(tradingsymbol=FUND, amount=1000, instalments=12, frequency="monthly",
                instalment_day=5, tag="plan")
    placed = kite.place_mf_sip(**plan)
    sip_id = placed["sip_id"]
    assert placed["order_id"] is None and len(sip_id) == 15 and sip_id.isdigit()
    sip = kite.mf_sips(sip_id)
    assert kite.mf_sips() == [sip] and recent(sip["created"])
    assert (sip["status"], sip["instalment_amount"], sip["instalments"]) == ("ACTIVE", 1000, 12)
    assert (sip["frequency"], sip["instalment_day"], sip["tag"]) == ("monthly", 5, "plan")
    assert sip["pending_instalments"] == 12 and sip["completed_instalments"] == 0

    assert kite.modify_mf_sip(sip_id, amount=2000, status="paused") == {"sip_id": sip_id}
    sip = kite.mf_sips(sip_id)
    assert (sip["status"], sip["instalment_amount"]) == ("PAUSED", 2000)
    kite.modify_mf_sip(sip_id, frequency="weekly", instalments=-1, status="active")
    sip = kite.mf_sips(sip_id)
    assert (sip["frequency"], sip["instalment_day"], sip["instalments"]) == ("weekly", 0, -1)

    orders_before = len(kite.mf_orders())
    placed = kite.place_mf_sip(**dict(plan, initial_amount=5000))
    first = kite.mf_orders(placed["order_id"])
    assert (first["variety"], first["amount"]) == ("sip", 5000)
    assert len(kite.mf_orders()) == orders_before + 1

    assert kite.cancel_mf_sip(sip_id) == {"sip_id": sip_id}
    assert kite.mf_sips(sip_id)["status"] == "CANCELLED"
    raises(INPUT, 400, lambda: kite.cancel_mf_sip(sip_id))
    raises(INPUT, 400, lambda: kite.modify_mf_sip(sip_id, amount=1000))
    for unknown in (lambda: kite.mf_sips("1"), lambda: kite.cancel_mf_sip("1"),
                    lambda: kite.modify_mf_sip("1", amount=1000)):
        raises(GENERAL, 404, unknown, "`sip_id`")
    for wrong in (dict(tradingsymbol="NONE"), dict(amount=None), dict(amount=1),
                  dict(instalments=None), dict(instalments=0), dict(frequency="daily"),
                  dict(frequency=None), dict(instalment_day=31), dict(initial_amount=1)):
        raises(INPUT, 400, lambda: kite.place_mf_sip(**dict(plan, **wrong)))
    for wrong in (dict(status="gone"), dict(amount=1), dict(frequency="daily")):
        other = placed["sip_id"]
        raises(INPUT, 400, lambda: kite.modify_mf_sip(other, **wrong))


def another_account(root):
    """GTTs and mutual funds belong to one `api_key`."""
    other = KiteConnect(api_key="other", access_token="token", root=root)
    assert other.get_gtts() == [] and other.mf_orders() == [] and other.mf_sips() == []


def main():
    root, = sys.argv[1:]
    record_calls()
    kite = sessions(root)
    orders(kite)
    positions(kite)
    holdings(kite)
    margins(kite)
    prices(kite)
    gtts(kite)
    fund_orders(kite)
    fund_sips(kite)
    another_account(root)
    assert kite.invalidate_access_token() is True
    raises(TOKEN, 403, kite.profile)
    everything_was_called()
    print("ok")


if __name__ == "__main__":
    main()
