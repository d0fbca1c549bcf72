"""A crowd of strategies on the official client, unmodified, as one process of several.

Prints `ready`, then reads one run a line from standard input, as JSON, and prints what came of it as JSON:

    {"root": "http://..", "api_key": "..", "access_token": "..", "seconds": 15, "threads": 6, "process": 0, "run": "a"}

All threads make mixed calls, one after the other, until the time is over. `transactional` counts the calls that were
answered and that Kite counts together: all but quotes, candles and the listing.
"""

import collections
import datetime
import json
import sys
import threading
import time

from kiteconnect import KiteConnect

SYMBOLS = ["YESBANK", "JUNIORBEES"]
NOT_TRANSACTIONAL = {"ltp", "ohlc", "quote", "historical_data", "instruments"}
# Far below the market, so that no order is filled.
PRICE = 1.05


class Report:
    """What the calls of all threads came to."""

    def __init__(self):
        self.lock = threading.Lock()
        self.calls = collections.Counter()
        self.errors = collections.Counter()
        self.messages = {}
        self.orders = []
        self.slowest = 0.0

    def call(self, kite, method, *args, **kwargs):
        """Makes a call. Returns its answer, or None if it failed."""
        began = time.monotonic()
        answer = None
        try:
            answer = getattr(kite, method)(*args, **kwargs)
        except Exception as error:
            kind = "%s %s" % (type(error).__name__, getattr(error, "code", "-"))
            with self.lock:
                self.errors[kind] += 1
                self.messages.setdefault("%s %s" % (kind, method), str(error))
        else:
            with self.lock:
                self.calls[method] += 1
        with self.lock:
            self.slowest = max(self.slowest, time.monotonic() - began)
        return answer

    def to_json(self):
        counted = sum(self.calls.values()) - sum(self.calls[name] for name in NOT_TRANSACTIONAL)
        return json.dumps(dict(
            calls=self.calls, transactional=counted, errors=self.errors, messages=self.messages,
            orders=self.orders, slowest=self.slowest))


class Strategy:
    """One thread: an order that is watched, changed and taken back, and a look at the account, over and over."""

    def __init__(self, report, kite, run, thread):
        self.report, self.kite, self.run, self.thread = report, kite, run, thread
        # No other thread of any process has it.
        number = self.number = run["process"] * 100 + thread
        self.symbol = SYMBOLS[number % len(SYMBOLS)]
        self.name = "NSE:" + self.symbol
        self.rounds = 0
        self.order = None
        self.token = None

    def call(self, method, *args, **kwargs):
        return self.report.call(self.kite, method, *args, **kwargs)

    def steps(self):
        """The calls of one round, each a function."""
        return [
            lambda: self.call("ltp", self.name), self.place, lambda: self.call("orders"),
            lambda: self.call("ohlc", [self.name]), self.modify, lambda: self.call("margins"),
            self.history, lambda: self.call("quote", "NSE:YESBANK", "NSE:JUNIORBEES"),
            lambda: self.call("positions"), self.cancel, lambda: self.call("trades"),
            lambda: self.call("holdings"), self.gtt, lambda: self.call("profile"), self.listing,
            self.candles]

    def place(self):
        self.rounds += 1
        # Every other order has a tag of the client's own. The others are equal to those of other threads.
        has_tag = (self.rounds + self.number) % 2 == 0
        tag = "%sx%dx%d" % (self.run["run"], self.number, self.rounds) if has_tag else None
        order_id = self.call(
            "place_order", variety="regular", exchange="NSE", tradingsymbol=self.symbol,
            transaction_type="BUY", quantity=self.number + 1, product="CNC", order_type="LIMIT",
            price=PRICE, tag=tag)
        if order_id is not None:
            self.order = dict(
                id=order_id, tag=tag, symbol=self.symbol, quantity=self.number + 1, state="OPEN")
            with self.report.lock:
                self.report.orders.append(self.order)

    def modify(self):
        if self.order is not None:
            quantity = 1000 + self.number
            if self.call("modify_order", "regular", self.order["id"], quantity=quantity):
                self.order["quantity"] = quantity

    def history(self):
        if self.order is not None:
            self.call("order_history", self.order["id"])

    def cancel(self):
        order, self.order = self.order, None
        if order is not None and self.call("cancel_order", "regular", order["id"]):
            order["state"] = "CANCELLED"

    def gtt(self):
        if self.rounds % 2 == 0:
            self.call("get_gtts")
            return
        leg = dict(transaction_type="SELL", quantity=1, order_type="LIMIT", product="CNC", price=1)
        placed = self.call(
            "place_gtt", trigger_type="single", tradingsymbol=self.symbol, exchange="NSE",
            trigger_values=[1], last_price=20, orders=[leg])
        if placed is not None:
            self.call("delete_gtt", placed["trigger_id"])

    def listing(self):
        rows = self.call("instruments", "NSE") or []
        tokens = [row["instrument_token"] for row in rows if row["tradingsymbol"] == self.symbol]
        self.token = tokens[0] if tokens else self.token

    def candles(self):
        # Up to today, so that no gateway keeps them.
        today = datetime.date.today()
        if self.token is not None:
            self.call("historical_data", self.token, today - datetime.timedelta(days=3),
                      today + datetime.timedelta(days=1), "day")

    def trade(self, start, seconds):
        start.wait()
        until = time.monotonic() + seconds
        # The threads of a process begin at different calls, and those of all processes at the same ones.
        skip = self.thread * 3 % len(self.steps())
        while True:
            for step in self.steps()[skip:]:
                if time.monotonic() >= until:
                    return
                step()
            skip = 0


def crowd(run):
    report = Report()
    threads = run["threads"]
    start = threading.Barrier(threads)
    # One client for all threads, as programs have it.
    kite = KiteConnect(api_key=run["api_key"], access_token=run["access_token"], root=run["root"])
    strategies = [Strategy(report, kite, run, thread) for thread in range(threads)]
    workers = [
        threading.Thread(target=strategy.trade, args=(start, run["seconds"]))
        for strategy in strategies]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return report


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        print(crowd(json.loads(line)).to_json(), flush=True)


if __name__ == "__main__":
    main()
