"""The HTML report of a validation study."""

from pynn_portability.reports.page import write_report

__all__ = ["write_report"]
