"""What changed between two results of a study: for continuous integration, and before a version is trusted."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

from pynn_portability.errors import printable
from pynn_portability.results.schema import CandidateEntry, EnsembleEntry, Score, StudyResults

RANK = {"pass": 0, "inconclusive": 1, "deviates": 2, "failed": 3}
"""Verdicts from the best to the worst; one that was not run says nothing."""


@dataclass(frozen=True)
class Change:
    """A candidate in two results; ``before`` or ``after`` is None where it is not there.

    ``ratios`` are the largest of both, ``details`` say which comparisons have another verdict, a sentence each.
    """

    backend: str
    format: str
    before: str | None
    after: str | None
    ratios: tuple[float | None, float | None]
    details: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether the verdict got worse, or is not there any more."""
        if self.before is None or self.before not in RANK:
            return False
        return self.after is None or RANK.get(self.after, -1) > RANK[self.before]


@dataclass(frozen=True)
class Comparison:
    """All candidates of two results, and what else differs between them, a sentence each."""

    changes: tuple[Change, ...]
    basis: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether a verdict got worse."""
        return any(change.worse for change in self.changes)


def compare(before: StudyResults, after: StudyResults) -> Comparison:
    """Compare two results."""
    old, new = (
        {(c.backend, c.format): c for c in results.candidates} for results in (before, after)
    )
    changes = tuple(_change(key, old.get(key), new.get(key)) for key in dict.fromkeys([*old, *new]))
    return Comparison(changes, tuple(_basis(before, after)))


def _change(
    key: tuple[str, str], before: CandidateEntry | None, after: CandidateEntry | None
) -> Change:
    return Change(
        *key,
        before.verdict if before else None,
        after.verdict if after else None,
        (_largest(before), _largest(after)),
        tuple(_details(before, after)) if before and after else (),
    )


def _largest(entry: CandidateEntry | None) -> float | None:
    ratios = [score.ratio for score in entry.scores if score.ratio is not None] if entry else []
    return max(ratios, default=None)


def _details(before: CandidateEntry, after: CandidateEntry) -> Iterator[str]:
    old = {(s.population, s.statistic): s for s in before.scores}
    for score in after.scores:
        earlier = old.get((score.population, score.statistic))
        if earlier and earlier.verdict != score.verdict:
            yield (
                f"{score.statistic} in {score.population}: {_in_words(earlier)} before, {_in_words(score)} now"
            )


def _in_words(score: Score) -> str:
    ratio = "" if score.ratio is None else f" (ratio {score.ratio:.2f})"
    return f"{score.verdict}{ratio}"


def _basis(before: StudyResults, after: StudyResults) -> Iterator[str]:
    """What the results are of, where that differs."""
    pairs = (
        ("the study", before.study.name, after.study.name),
        ("the analysed time", f"{before.study.duration:g} ms", f"{after.study.duration:g} ms"),
        ("the warm-up", f"{before.study.warmup:g} ms", f"{after.study.warmup:g} ms"),
        ("seeds", str(before.study.seeds), str(after.study.seeds)),
        ("the reference", _name(before.reference), _name(after.reference)),
        ("this package", before.provenance.portability, after.provenance.portability),
    )
    for what, old, new in pairs:
        if old != new:
            yield f"{what}: {old} before, {new} now"
    if before.provenance.network_fingerprint != after.provenance.network_fingerprint:
        yield "the network is another one"
    versions = before.provenance.versions, after.provenance.versions
    for backend in sorted(set(versions[0]) & set(versions[1])):
        old_packages, new_packages = (of_run[backend] for of_run in versions)
        for package in sorted(set(old_packages) | set(new_packages)):
            old, new = old_packages.get(package, "none"), new_packages.get(package, "none")
            if old != new:
                yield f"{package} of {backend}: {old} before, {new} now"


def _name(entry: EnsembleEntry) -> str:
    return f"{entry.backend} {entry.format}"


def markdown(comparison: Comparison) -> str:
    """A short summary for a pull request."""
    worse = [change for change in comparison.changes if change.worse]
    title = (
        f"{len(worse)} of {len(comparison.changes)} verdicts got worse"
        if worse
        else "No verdict got worse"
    )
    lines = [f"### Portability: {title}", "", "| backend | format | before | now | largest ratio |"]
    lines.append("|---|---|---|---|---|")
    for change in comparison.changes:
        mark = " ⬇" if change.worse else ""
        cells = (
            change.backend,
            change.format,
            change.before or "not there",
            f"{change.after or 'not there'}{mark}",
            " → ".join("" if r is None else f"{r:.2f}" for r in change.ratios),
        )
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    details = [
        f"- {_cell(f'{change.backend} {change.format}')}: {_cell(detail)}"
        for change in comparison.changes
        for detail in change.details
    ]
    basis = [f"- {_cell(sentence)}" for sentence in comparison.basis]
    if details:
        lines += ["", "Comparisons with another verdict:", "", *details]
    if basis:
        lines += ["", "What else differs:", "", *basis]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that Markdown and HTML take for nothing but text."""
    plain = html.escape(printable(" ".join(text.split())), quote=False)
    return "".join(f"\\{c}" if c in "\\|`*_[]#" else c for c in plain)
