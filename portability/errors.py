"""The exceptions that users are meant to read, and text that is safe to show them."""

import unicodedata
from collections.abc import Sequence


class RequestError(ValueError):
    """What was asked for cannot be done.

    The message is one sentence naming what is wrong, where, and what is allowed.
    The command line prints the message without a traceback and exits with code 2.
    """


class UnfinishedError(Exception):
    """Runs have been made, and are kept, but what had to follow could not be done.

    The message is one sentence. Nothing is wrong with the request, so that the command line exits with code 4.
    """


class UnsupportedError(RequestError, AttributeError):
    """The script uses something of PyNN that the harness cannot carry over."""


_JOINERS = "\u200c\u200d"
_UNSHOWN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")


def listing(names: Sequence[str], most: int = 4) -> str:
    """Names as words, at most so many of them."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def printable(text: str, keep: str = "") -> str:
    """Text without characters that steer a terminal or turn the order of others around.

    Control, format (bidirectional ones among them), surrogate, private and unassigned characters become
    escapes, such as ``\\x1b``, but for those in ``keep`` and the joiners that some scripts are written with.
    """
    return "".join(
        c
        if c in keep + _JOINERS or unicodedata.category(c) not in _UNSHOWN
        else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in text
    )
