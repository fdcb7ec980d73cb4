"""Does a port of a PyNN network still have the dynamics of the NEST double-precision ensemble?

See `Study` for where to begin. Names are imported when they are first used, so that importing a part of the
package does not bring all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pynn_portability.api import Results, Study, conformance, explain_spikes, inventory
    from pynn_portability.errors import RequestError, UnfinishedError, UnsupportedError

__all__ = [
    "RequestError",
    "Results",
    "Study",
    "UnfinishedError",
    "UnsupportedError",
    "__version__",
    "conformance",
    "explain_spikes",
    "inventory",
]

__version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("pynn-portability")
    if name in ("RequestError", "UnfinishedError", "UnsupportedError"):
        from pynn_portability import errors  # noqa: PLC0415

        return getattr(errors, name)
    if name in __all__:
        from pynn_portability import api  # noqa: PLC0415

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
