"""What serves each of some 460 estimators and pipelines: ``python -m benchmarks.coverage [WORD...]``.

Each case of ``benchmarks.cases`` is fitted on one table of mixed columns and proven as training proves it,
on fewer rows. It is not a comparison of speed: it says how many fall to joblib, and why.
"""

from __future__ import annotations

import collections
import sys
import time
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.cases import Case, cases, table
from tests.support.proving import proven, served_by
from training.errors import TrainingError, one_line
from training.pipelines import check_predicts

COMPARED = 3000


class Outcome(NamedTuple):
    """``served``: the engines of many rows and of one, ``refused``, or ``crash``."""

    served: str
    reason: str
    largest: float | None = None


def outcome(case: Case, frame: pd.DataFrame, targets: dict[str, np.ndarray]) -> Outcome:
    """What becomes of a case."""
    columns = case.columns or [name for name in frame if name != "comment" or "word" in case.name]
    try:
        estimator = case.build()
        check_predicts(estimator, "the case")
        made_of_it = proven(
            estimator,
            frame[columns],
            None if case.target is None else targets[case.target],
            texts=["comment"] if "comment" in columns else [],
            rows_compared=COMPARED,
        )
    except TrainingError as error:
        return Outcome("refused", str(error))
    except Exception as error:  # noqa: BLE001 - the fit is not wrapped here as it is in training
        raised = one_line(error)
        return Outcome(
            "refused" if type(error).__module__ != __name__ else "crash", f"the fit fails: {raised}"
        )
    findings = [each for each in (made_of_it.graph, made_of_it.program) if each is not None]
    differences = [each.largest_difference for each in findings if each.largest_difference is not None]
    reasons = [each.reason for each in findings if each.reason]
    return Outcome(
        "+".join(dict.fromkeys(served_by(made_of_it))), "; ".join(reasons), max(differences, default=None)
    )


def measure(words: list[str]) -> None:
    """Every case, or those whose group or name has one of the words."""
    frame, targets = table()
    targets["codes"] = np.unique(targets["three"], return_inverse=True)[1]
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for case in cases():
        if words and not any(word in case.group or word in case.name for word in words):
            continue
        started = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = outcome(case, frame, targets)
        counts[case.group][found.served] += 1
        shown = case.name if case.target in (None, "bin") else f"{case.name} [{case.target}]"
        print(
            f"{time.monotonic() - started:5.1f} s  {found.served:12} {shown}  {found.reason}"[:240],
            flush=True,
        )
    print()
    for group, counter in [*counts.items(), ("all", sum(counts.values(), collections.Counter()))]:
        print(f"{group:24}", ", ".join(f"{name} {count}" for name, count in sorted(counter.items())))


if __name__ == "__main__":
    measure(sys.argv[1:])
