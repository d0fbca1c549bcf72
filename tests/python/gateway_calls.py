"""Makes single calls with the official client, unmodified.

Prints `ready`, then reads calls from standard input, one a line, and prints as JSON what came of each: an answer, or the
exception that the client raised.

    {"root": "http://..", "api_key": "..", "access_token": "..", "method": "ltp", "args": ["NSE:INFY"], "kwargs": {}}
"""

import json
import sys

from kiteconnect import KiteConnect, exceptions


def outcome(call):
    kite = KiteConnect(
        api_key=call["api_key"], access_token=call["access_token"], root=call["root"])
    try:
        answer = getattr(kite, call["method"])(*call["args"], **call["kwargs"])
    except exceptions.KiteException as error:
        return dict(raised=type(error).__name__, code=error.code, message=str(error))
    return dict(answer=answer)


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        # Dates as texts.
        print(json.dumps(outcome(json.loads(line)), default=str), flush=True)


if __name__ == "__main__":
    main()
