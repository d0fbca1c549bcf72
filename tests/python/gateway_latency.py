"""Times calls of `ltp` with the official client, unmodified.

Prints `ready`, then reads runs from standard input, one a line, and prints the seconds of each call as JSON:

    {"root": "http://..", "api_key": "..", "access_token": "..", "instruments": ["NSE:INFY"], "pause": 0.5}
"""

import json
import sys
import time

from kiteconnect import KiteConnect


def times(run):
    kite = KiteConnect(api_key=run["api_key"], access_token=run["access_token"], root=run["root"])
    # Opens the connection.
    kite.profile()
    taken = []
    for instrument in run["instruments"]:
        time.sleep(run["pause"])
        began = time.perf_counter()
        answer = kite.ltp(instrument)
        taken.append(time.perf_counter() - began)
        assert answer[instrument]["last_price"] > 0, answer
    return taken


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(times(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
