"""The exceptions that users are meant to read."""


class RequestError(ValueError):
    """What was asked for cannot be done.

    The message is one sentence naming what is wrong, where, and what is allowed.
    The command line prints the message without a traceback and exits with code 2.
    """


class UnsupportedError(RequestError, AttributeError):
    """The script uses something of PyNN that the harness cannot carry over."""
