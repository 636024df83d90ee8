"""What a training costs beside the fit alone: ``python -m benchmarks.trainings [--runs N] [CASE...]``.

Each case is a table that is made here. ``python -m training`` reads it, fits, proves, draws and writes;
beside it, in the same run, pandas reads the same file and scikit-learn fits the same pipeline, and no more.
Processor seconds are those of the whole process; "its imports" are those of a process that loads what
training loads, and ends.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.processes import Contender, Run, run

#: Reads a CSV and fits a pipeline on 70 % of its rows, as training does.
FIT = """
import sys
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

frame = pd.read_csv(sys.argv[1])
y = frame.pop("y")
numbers = list(frame.select_dtypes("number"))
words = [name for name in frame if name not in numbers]
numeric = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
one_hot = OneHotEncoder(handle_unknown="ignore")
columns, last = {
    "logistic": ([(numeric, numbers), (one_hot, words)], LogisticRegression(max_iter=1000)),
    "random_forest": ([("passthrough", numbers), (ordinal, words)], RandomForestClassifier(random_state=0)),
    "hist_gradient_boosting": (
        [("passthrough", numbers), (ordinal, words)],
        HistGradientBoostingClassifier(random_state=0),
    ),
}[sys.argv[2]]
rows, _, fitted, _ = train_test_split(frame, y, test_size=0.3, random_state=555, stratify=y)
make_pipeline(make_column_transformer(*[each for each in columns if each[1]]), last).fit(rows, fitted)
"""


class Case(NamedTuple):
    """A table of ``rows`` and ``columns``, of which ``words`` are texts, with a share of ``gaps``."""

    rows: int
    columns: int
    pipeline: str
    words: float = 0.0
    gaps: float = 0.0


CASES = {
    "small": Case(200, 5, "logistic"),
    "small mixed": Case(500, 10, "logistic", 0.4, 0.05),
    "small forest": Case(200, 5, "random_forest"),
    "small boosting": Case(200, 5, "hist_gradient_boosting"),
    "forest": Case(10_000, 20, "random_forest"),
    "boosting": Case(10_000, 20, "hist_gradient_boosting"),
    "72 x 5000": Case(72, 5000, "logistic"),
    "500 x 2000": Case(500, 2000, "logistic"),
    "500 x 2000 mixed": Case(500, 2000, "logistic", 0.5, 0.05),
    "500 x 2000 forest": Case(500, 2000, "random_forest"),
    "10000 x 2000": Case(10_000, 2000, "logistic"),
}


def table(case: Case, path: Path) -> None:
    """Write the case's table, which is the same each time."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(case.rows, case.columns)).round(3)
    target = numbers[:, 0] + numbers[:, 1] + 0.3 * random.normal(size=case.rows) > 0
    words = np.array(list("abcde"), object)
    first = case.columns - round(case.columns * case.words)
    frame = pd.DataFrame(
        {
            f"g{index}": numbers[:, index] if index < first else random.choice(words, case.rows)
            for index in range(case.columns)
        }
    )
    frame = frame.mask(random.random(frame.shape) < case.gaps)
    frame.assign(y=np.where(target, "yes", "no")).to_csv(path, index=False)


def measured(name: str, case: Case, folder: Path, runs: int) -> None:
    """Print one case: processor seconds, seconds and megabytes of training, and of the fit alone."""
    data, out = folder / "rows.csv", folder / "model"
    table(case, data)
    options = ["--data", str(data), "--target", "y", "--pipeline", case.pipeline, "--out", str(out)]
    contenders = {
        "training": (sys.executable, "-m", "training", *options),
        "its imports": (
            sys.executable,
            "-c",
            "import training.train, training.learning, training.packaging",
        ),
        "pandas and scikit-learn's fit": (sys.executable, "-c", FIT, str(data), case.pipeline),
    }
    print(f"\n{name}: {case.rows:,} rows, {case.columns:,} columns, {case.pipeline}", flush=True)
    done: dict[str, list[Run]] = {each: [] for each in contenders}
    for _ in range(runs):
        for each, command in contenders.items():
            try:
                done[each].append(run(Contender(each, command, {})))
            except RuntimeError as error:
                print(f"  failed  {str(error).strip().splitlines()[-1][:200]}")
    for each, finished in done.items():
        if finished:
            processor, seconds, megabytes = (
                statistics.median(getattr(one, what) for one in finished)
                for what in ("processor", "seconds", "megabytes")
            )
            print(
                f"  {processor:7.1f} s processor  {seconds:7.1f} s  {megabytes:6.0f} MB  {each}", flush=True
            )


def main() -> None:
    """Measure the cases that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainings", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of: {', '.join(CASES)}")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="trainings-") as name:
        for case in options.cases or CASES:
            measured(case, CASES[case], Path(name), options.runs)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
