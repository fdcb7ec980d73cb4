"""What candidates are measured with: a reference's runs, and verdicts against them as plain values."""

from __future__ import annotations

from typing import Any

from pynn_portability.judge import diagnosis, verdict
from pynn_portability.judge.adequacy import Evidence
from pynn_portability.judge.verdict import Pairing
from pynn_portability.results.missing import Missing

Combination = tuple[str, str]
"""(backend, format)"""


class Yardstick:
    """Runs of a reference of ``duration`` ms, whole and in parts, and the distances between them."""

    def __init__(self, reference: Evidence, duration: float, missing: Missing) -> None:
        self.reference = reference
        self.baselines = {
            fraction: verdict.baseline_distances(part) for fraction, part in reference.parts.items()
        }
        self._duration, self._missing = duration, missing

    def judged(self, who: str, candidate: Evidence, pairing: Pairing) -> dict[str, Any]:
        """Verdict, reasons, scores and diagnosis of a candidate that has runs."""
        reference, whole = self.reference.whole, candidate.whole
        judgement = verdict.judge(reference, whole, self.baselines[1.0], pairing)
        return {
            "verdict": judgement.verdict,
            "reasons": list(judgement.reasons),
            "scores": [score_entry(score) for score in judgement.scores],
            "diagnosis": self._missing.made(
                f"The diagnosis of {who}",
                lambda: diagnosis.sentences(
                    judgement.scores, diagnosis.changes(reference, whole, pairing)
                ),
                [],
            ),
        }

    def parts(self, candidate: Evidence, pairing: Pairing) -> list[dict[str, Any]]:
        """Verdict, largest ratios and scores, had the runs ended earlier, and of the whole runs."""
        entries = []
        for fraction, runs in sorted(candidate.parts.items()):
            reference = self.reference.parts[fraction]
            common = set(runs.runs) & set(reference.runs)
            if not (common if pairing == "paired" else runs.runs):
                continue
            judgement = verdict.judge(reference, runs, self.baselines[fraction], pairing)
            largest: dict[str, float | None] = {}
            for score in judgement.scores:
                if score.ratio is not None:
                    largest[score.statistic] = max(score.ratio, largest.get(score.statistic) or 0.0)
            entries.append(
                {
                    "duration": fraction * self._duration,
                    "verdict": judgement.verdict,
                    "largest": largest,
                    "scores": [score_entry(score) for score in judgement.scores],
                }
            )
        return entries


def score_entry(score: verdict.Score) -> dict[str, Any]:
    """A score as ``results.json`` has it."""
    return {
        "population": score.population,
        "statistic": score.statistic,
        "distance": score.distance_mean,
        "distances": list(score.distances),
        "baseline_mean": score.baseline_mean,
        "baseline_sd": score.baseline_sd,
        "ratio": score.ratio,
        "ratio_low": score.ratio_low,
        "ratio_high": score.ratio_high,
        "verdict": score.verdict,
    }
