"""Which methods and routes of the official client a script uses, and which it does not."""

import collections
import functools
import inspect

from kiteconnect import KiteConnect

# What no script calls, and why.
NOT_REST = {
    "login_url": "the address of a page",
    "set_access_token": "changes the client only",
    "set_session_expiry_hook": "changes the client only",
}
NO_METHOD = {"market.margins": "no method of the client requests it"}

methods_called = set()
running = []
routes_used = collections.Counter()


def record(name, method):
    @functools.wraps(method)
    def called(*args, **kwargs):
        # What the client calls by itself is not called by the script.
        if not running:
            methods_called.add(name)
        running.append(name)
        try:
            return method(*args, **kwargs)
        finally:
            running.pop()
    return called


def record_calls():
    """Records each call of a public method, and each route that it requests."""
    for name in public_methods():
        setattr(KiteConnect, name, record(name, getattr(KiteConnect, name)))
    request = KiteConnect._request

    def recorded(self, route, *args, **kwargs):
        routes_used[route] += 1
        return request(self, route, *args, **kwargs)

    KiteConnect._request = recorded


def public_methods():
    functions = inspect.getmembers(KiteConnect, inspect.isfunction)
    return [name for name, _ in functions if not name.startswith("_")]


def everything_was_called():
    """Fails if the client has a public method or a route that was not used, and is no exception."""
    for what, all_of, called, excepted in (
            ("methods", set(public_methods()), methods_called, NOT_REST),
            ("routes", set(KiteConnect._routes), set(routes_used), NO_METHOD)):
        missing = all_of - called - set(excepted)
        assert not missing, "%s that the script does not use: %s" % (what, sorted(missing))
        stale = set(excepted) & called | set(excepted) - all_of
        assert not stale, "%s that are no exceptions: %s" % (what, sorted(stale))
