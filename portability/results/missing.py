"""What of a report could not be made, and why. A verdict does not wait for a drawing."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

Made = TypeVar("Made")

_LONGEST_REASON = 300


class Missing:
    """Makes parts of a report, and keeps a sentence on each that could not be made."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def made(self, what: str, make: Callable[[], Made], otherwise: Any) -> Made:
        """What ``make`` returns, or ``otherwise`` if it raises, whatever that is.

        ``what`` is the beginning of the sentence, such as "The prediction".
        """
        try:
            return make()
        except Exception as error:
            if os.environ.get("PORTABILITY_TRACEBACK") == "1":
                traceback.print_exc(file=sys.stderr)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            if len(reason) > _LONGEST_REASON:
                reason = reason[: _LONGEST_REASON - 3] + "..."
            self.sentences.append(f"{what} could not be made: {reason}")
            nothing: Made = otherwise
            return nothing
