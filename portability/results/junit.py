"""Results as JUnit XML, for continuous integration."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from pynn_portability.results.schema import CandidateEntry, EnsembleEntry, Score, StudyResults


def junit(results: StudyResults) -> bytes:
    """A test case per candidate, population and statistic, and one per failed run.

    A statistic that deviates is a failure, one that is inconclusive and a candidate that was not run
    are skipped, a failed run is an error.
    """
    suite = TestSuite(_xml(results.study.name))
    entries: list[EnsembleEntry] = [results.reference, *results.candidates]
    for entry in entries:
        for run in entry.runs:
            if run.status == "failed":
                problem = Error(_xml(run.error or "unknown"))
                suite.add_testcase(_case(entry, f"run with seed {run.seed}", problem))
        if isinstance(entry, CandidateEntry):
            if entry.verdict == "not run":
                skipped = Skipped(_xml(f"not run: {entry.reasons[0]}"))
                suite.add_testcase(_case(entry, "runs", skipped))
            for score in entry.scores:
                suite.add_testcase(
                    _case(entry, f"{score.population} {score.statistic}", _result(score))
                )
    document = JUnitXml()
    document.add_testsuite(suite)
    root = ElementTree.fromstring(document.tostring())
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _case(entry: EnsembleEntry, name: str, result: Error | Failure | Skipped | None) -> TestCase:
    case = TestCase(_xml(name), classname=_xml(f"{entry.backend} {entry.format}"))
    if result is not None:
        case.result = [result]
    return case


def _result(score: Score) -> Failure | Skipped | None:
    message = (
        f"KS distance {_number(score.distance)}, between seeds of the reference "
        f"{_number(score.baseline_mean)}, ratio {_number(score.ratio)} "
        f"({_number(score.ratio_low)} to {_number(score.ratio_high)})"
    )
    if score.deviates:
        return Failure(message)
    if score.verdict == "inconclusive":
        return Skipped(f"inconclusive: {message}")
    return None


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _xml(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
