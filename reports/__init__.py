"""The HTML report of a validation study."""

from portability.reports.page import write_report

__all__ = ["write_report"]
