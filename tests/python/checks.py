"""What the scripts beside this one check values with."""

import datetime

from kiteconnect import exceptions


def number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def recent(value):
    """A naive datetime of the present, in India."""
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    now = datetime.datetime.now(zone).replace(tzinfo=None)
    return isinstance(value, datetime.datetime) and abs(now - value) < datetime.timedelta(hours=1)


def raises(expected, code, call, message=None):
    try:
        call()
    except exceptions.KiteException as error:
        assert type(error) is expected, repr(error)
        assert error.code == code, (error.code, error)
        assert message is None or message in str(error), error
    else:
        raise AssertionError("%s was not raised" % expected.__name__)
