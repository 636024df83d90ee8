"""``python -m handler evaluate``: the metrics of training on what really came, beside the report's."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from handler import dates
from handler.charts import Axis, Plane, cut, matrix
from handler.errors import FunctionError
from handler.manifest import Contract, Manifest
from handler.rendering import Gallery, Picture, Rows, Section, page
from handler.review import history, truths
from handler.review.sources import Question
from handler.review.truths import Joined
from handler.scoring import metrics
from handler.scoring.metrics import shown
from handler.scoring.scorers import Scores
from handler.storage.storage import Storage
from handler.terminal import grid

if TYPE_CHECKING:
    import numpy as np

#: Fewer rows say little; so do fewer rows of one of two classes.
FEWEST_ROWS, FEWEST_OF_A_CLASS = 30, 10
#: More weeks are not those of predictions; ten years are.
MOST_WEEKS = 520
#: Weeks that the console shows: the last ones.
SHOWN_WEEKS = 12
#: With more classes, a matrix cannot be read.
LARGEST_MATRIX = 12
#: Metrics from 0 to 1, and how much of that a picture shows at least.
SHARES, SPAN = ("accuracy", "precision", "recall", "f1", "roc_auc"), 0.1
#: What rows do that do not count, by the name of the reason in JSON.
WHY_NOT = {
    "rejected": "were rejected, and have no prediction",
    "without_id": "have no id",
    "without_value": "have no truth in them",
    "repeated": "repeat an id, with nothing new",
    "contradictory": "have an id that stands for different things",
    "without_truth": "have no truth yet",
    "without_prediction": "have no prediction",
}


class Week(NamedTuple):
    """A week: its number from the first one on, its Monday, its rows, and whether they are too few."""

    number: int
    start: str
    rows: int
    few: bool
    metrics: Mapping[str, float]


class Evaluation(NamedTuple):
    """What a model's metrics were at training (``before``), are ``now``, and were in each week.

    ``few``: whether all rows are too few to say much.
    """

    manifest: Manifest
    question: Question
    joined: Joined
    few: bool
    before: Mapping[str, Any]
    now: Mapping[str, Any]
    weeks: Sequence[Week]

    @property
    def rows(self) -> int:
        """The rows that are measured."""
        return len(self.joined.truth)

    @property
    def main(self) -> str:
        """The name of the metric that says most: the same at training and now."""
        if self.manifest.task == "regression":
            return "r2"
        ranks = self.manifest.probabilities if self.manifest.task == "binary" else self.manifest.score
        return "roc_auc" if ranks else "f1"

    @property
    def drop(self) -> float | None:
        """How far the main metric is below that of training; None where one of both has no value."""
        before, now = self.before.get(self.main), self.now.get(self.main)
        return None if before is None or now is None else before - now

    def as_json(self) -> dict[str, Any]:
        """The result as JSON."""
        joined = self.joined
        weeks = [
            {"start": each.start, "rows": each.rows, "few": each.few, "metrics": each.metrics}
            for each in self.weeks
        ]
        return {
            "model": self.manifest.identity,
            "rows": self.rows,
            "few": self.few,
            "predictions": joined.predictions,
            "truth": joined.truths,
            "left_out": dict(joined.left_out),
            "metrics": {"training": self.before, "now": self.now},
            "main": self.main,
            "drop": self.drop,
            **({"weeks": weeks, "without_date": self.without_date} if joined.days is not None else {}),
        }

    @property
    def without_date(self) -> int:
        """The rows that are in no week."""
        return self.rows - sum(week.rows for week in self.weeks)


def question(
    manifest: Manifest, on: Sequence[str], target: str | None = None, date: str | None = None
) -> Question:
    """What is asked for; ``date`` is ``COLUMN`` or ``COLUMN=FORMAT``. Raises ``FunctionError``."""
    name = target or manifest.target
    if manifest.task == "cluster":
        raise FunctionError(
            f"{manifest.name} {manifest.version} finds clusters: there is no truth that its labels could "
            "be compared with"
        )
    if not name:
        raise FunctionError(
            f"{manifest.name} {manifest.version} was made without a target: name the column of TRUTH that "
            "has what came, with --target COLUMN"
        )
    if date is None:
        return Question(tuple(on), name)
    column, _, format = date.rpartition("=")
    if not column or "%" not in format:
        features = (each for each in manifest.features if each.kind == "date" and each.name == date)
        return Question(tuple(on), name, date, next((each.format for each in features), None))
    try:
        dates.pattern(format)
    except ValueError as error:
        raise FunctionError(f"'{format}' is not a format of dates (--date): {error}") from error
    return Question(tuple(on), name, column, format)


def evaluate(
    predictions: str, truth: str, question: Question, manifest: Manifest, storage: Storage
) -> Evaluation:
    """Measure the predictions on what came; see ``truths.join`` for both, and for what is raised."""
    try:
        import sklearn.metrics  # noqa: F401
    except ImportError as error:
        raise FunctionError(
            "the metrics are those of scikit-learn, which is not installed here: run this where models "
            "are trained, or install sklearn-function[training]"
        ) from error
    joined = truths.join(predictions, truth, question, manifest, storage)
    if manifest.task == "anomaly":
        joined = joined._replace(truth=1 - joined.truth, scores=_as_two_classes(joined.scores))
        contract = Contract((), "binary", (1, -1))
    else:
        contract = manifest.contract
    return Evaluation(
        manifest,
        question,
        joined,
        _few(contract, joined.truth),
        {name: value for name, value in manifest.metrics.items() if name not in ("baseline", "compared")},
        _measured(contract, joined.truth, joined.scores),
        [] if joined.days is None else _weeks(contract, joined, joined.days, question),
    )


def _as_two_classes(scores: Scores) -> Scores:
    """A detector as a model of two classes, of which anomalies are the positive one."""
    return Scores(1 - scores.values, None, None if scores.score is None else -scores.score)


def _measured(contract: Contract, truth: np.ndarray, scores: Scores) -> dict[str, Any]:
    with warnings.catch_warnings():
        # Tables may have them rounded, to float32 by a graph or to a few digits by a database.
        warnings.filterwarnings("ignore", "The y_prob values do not sum to one", UserWarning)
        return metrics.measure(contract, truth, scores)


def _few(contract: Contract, truth: np.ndarray) -> bool:
    import numpy as np

    least = np.bincount(truth, minlength=2).min() if contract.task == "binary" else FEWEST_OF_A_CLASS
    return len(truth) < FEWEST_ROWS or bool(least < FEWEST_OF_A_CLASS)


def _weeks(contract: Contract, joined: Joined, days: np.ndarray, question: Question) -> list[Week]:
    """Weeks from Monday on, those that have rows; raises ``FunctionError`` where none has, or too many."""
    import numpy as np

    dated = np.flatnonzero(~np.isnan(days))
    if not len(dated):
        raise FunctionError(
            f"'{question.date}' does not have {dates.described(question.format)}: state the format of its "
            f"dates, such as --date '{question.date}=%d.%m.%Y'"
        )
    numbers = (days[dated].astype(np.int64) + 3) // 7  # 1970-01-01 was a Thursday
    order = dated[np.argsort(numbers, kind="stable")]
    every, starts = np.unique(np.sort(numbers), return_index=True)
    if len(every) > MOST_WEEKS:
        raise FunctionError(
            f"'{question.date}' has dates in {len(every):,} weeks, and at most {MOST_WEEKS} are shown; "
            "name the column of when rows were scored, or when their truth came"
        )
    truth, scores = joined.truth[order], joined.scores.at(order)
    weeks = []
    for number, start, stop in zip(every.tolist(), starts, [*starts[1:], len(order)], strict=True):
        rows = slice(start, stop)
        measured = metrics.scalars(_measured(contract, truth[rows], scores.at(rows)))
        monday = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=7 * number - 3)
        few = _few(contract, truth[rows])
        weeks.append(Week(number - int(every[0]), f"{monday:%Y-%m-%d}", int(stop - start), few, measured))
    return weeks


def in_words(made: Evaluation) -> str:
    """The result as lines of text."""
    manifest = made.manifest
    header, *rows = _metrics(made)
    lines = [
        f"{manifest.name} {manifest.version}: {made.rows:,} rows with a prediction and a truth",
        *(f"  {each}" for each in _rows_in_words(made)),
        *grid(header, rows, "<>>>"),
    ]
    if made.weeks:
        header, *rows = _table_of_weeks(made)
        lines.append(f"by week of '{made.question.date}' in {made.joined.dated}:")
        lines += grid(header, rows[-SHOWN_WEEKS:], "<" + ">" * (len(header) - 2) + "<")
        if more := len(rows) - SHOWN_WEEKS:
            lines += [f"  {more:,} earlier weeks are in --json and --output"] if more > 0 else []
    return "\n".join([*lines, *(f"note: {each}" for each in _notes(made))])


def fault(made: Evaluation, limit: float) -> str | None:
    """Why the main metric is not within the limit below that of training, or None."""
    name = metrics.NAMES[made.main]
    if made.drop is None:
        return f"the {name} cannot be compared with that of training: one of both has no value"
    if made.drop <= limit:
        return None
    before, now = shown(made.before[made.main]), shown(made.now[made.main])
    return f"the {name} has dropped by {shown(made.drop)}, from {before} to {now}: more than {limit:g}"


def _rows_in_words(made: Evaluation) -> list[str]:
    """How many rows both tables have, and why some of them do not count."""
    joined, lines = made.joined, []
    if made.manifest.task == "regression":
        unknown = "are not numbers"
    else:
        unknown = "have a label that the model does not know"
        unknown += "" if joined.line is None else f" (the first on line {joined.line})"
    for name, tally in (("predictions", joined.predictions), ("truth", joined.truths)):
        why = {**WHY_NOT, "unknown": unknown}
        parts = [f"{tally[each]:,} {words}" for each, words in why.items() if tally.get(each)]
        lines.append(f"{name}: {tally['rows']:,} rows" + "".join(f"; {each}" for each in parts))
    return lines


def _notes(made: Evaluation) -> list[str]:
    """What to know of the figures."""
    joined, manifest, notes = made.joined, made.manifest, []
    if made.few:
        notes.append("these are too few rows to say much")
    if joined.predictions["contradictory"] or joined.truths["contradictory"]:
        notes.append(
            "rows of one id that differ are left out; if an id comes back, add the column that tells its "
            "rows apart: --on COLUMN"
        )
    if joined.alike:
        notes.append(
            f"{joined.alike:,} more rows would be joined but for blanks, leading zeros, capitals or .0 in "
            "their ids: texts are compared as they stand"
        )
    if joined.days is not None and made.without_date:
        notes.append(f"{made.without_date:,} rows have no date, and are in no week")
    if joined.left_out:
        notes.append(f"files that are left out: {history.counted(joined.left_out)}")
    if joined.unchecked:
        files = "1 file has" if joined.unchecked == 1 else f"{joined.unchecked:,} files have"
        notes.append(f"{files} no summary.json: that this model has scored it is not checked")
    if not metrics.scalars(made.before):
        notes.append("the bundle has no metrics of training to compare with")
    elif "imported" in manifest.training:
        notes.append("the metrics at training are of a sample that the model may have been fitted on")
    if made.main not in made.now:
        why = "there is one row" if made.main == "r2" else "all rows are of one class"
        notes.append(f"the {metrics.NAMES[made.main]} has no value now, as {why}")
    return notes


def _metrics(made: Evaluation) -> Rows:
    """A table of the metrics at training and now."""
    before, now = metrics.scalars(made.before), metrics.scalars(made.now)
    table: Rows = [("metric", "at training", "now", "difference")]
    for name in dict.fromkeys((*before, *now)):
        both = [values.get(name) for values in (before, now)]
        table.append((metrics.NAMES.get(name, name), *map(_shown, both), _difference(*both)))
    return table


def _difference(before: float | None, now: float | None) -> str:
    """With the digits that both are shown with."""
    if before is None or now is None:
        return "–"
    if 1e-3 <= max(abs(before), abs(now)) < 100:
        return f"{now - before:+.4f}"
    return f"{'+' if now > before else ''}{shown(now - before)}"


def _shown(value: float | None) -> str:
    return "–" if value is None else shown(value)


def _table_of_weeks(made: Evaluation) -> Rows:
    names = list(dict.fromkeys(itertools.chain.from_iterable(week.metrics for week in made.weeks)))
    table: Rows = [("from", "rows", *(metrics.NAMES.get(name, name) for name in names), "")]
    for week in made.weeks:
        values = (_shown(week.metrics.get(name)) for name in names)
        table.append((week.start, f"{week.rows:,}", *values, "few" if week.few else ""))
    return table


def as_page(made: Evaluation) -> str:
    """The page, which stands alone."""
    manifest = made.manifest
    about = [
        f"How well {manifest.name} {manifest.version} has predicted '{made.question.target}', by the "
        f"metrics of its training, measured on {made.rows:,} rows of which the truth is known by now.",
        *(f"{each[0].upper()}{each[1:]}." for each in (*_rows_in_words(made), *_notes(made))),
    ]
    sections = [Section("What this shows", about), Section("Metrics", [_metrics(made)])]
    if made.weeks:
        names = dict.fromkeys((made.main, *metrics.scalars(made.now)))
        pictures = [picture for name in names if (picture := _over_time(made, name)) is not None]
        caution = (
            "A dashed line is what training measured. A week counts from Monday; in a week marked as few, "
            f"there are fewer than {FEWEST_ROWS} rows, or fewer than {FEWEST_OF_A_CLASS} of one of two "
            "classes: its figures say little. The truth of the last weeks may not have come for all rows."
        )
        sections.append(Section("By week", [caution, Gallery(pictures), _table_of_weeks(made)]))
    if pictures := _matrices(made):
        sections.append(Section("Confusion matrix", [Gallery(pictures)]))
    return page(f"{manifest.name}: what came true", {}, sections)


def _over_time(made: Evaluation, name: str) -> Picture | None:
    """A metric by week; None where no week has it."""
    weeks = [week for week in made.weeks if name in week.metrics]
    if not weeks:
        return None
    numbers, values = [week.number for week in weeks], [week.metrics[name] for week in weeks]
    before = made.before.get(name)
    every = -(-max(made.weeks[-1].number, 1) // 4)
    first = datetime.fromisoformat(made.weeks[0].start)
    at = range(0, made.weeks[-1].number + every, every)
    at = at if len(at) > 1 else range(2)
    x = Axis("", at, [f"{first + timedelta(days=7 * number):%Y-%m-%d}" for number in at])
    ends = [*values, *([before] if before is not None else [])]
    low, high = min(ends), max(ends)
    if name in SHARES:  # else chance looks like a fall
        middle = min(1 - SPAN / 2, max(SPAN / 2, (low + high) / 2))
        low, high = min(low, middle - SPAN / 2), max(high, middle + SPAN / 2)
    title = metrics.NAMES.get(name, name)
    plane = Plane(x, Axis.over(title, low, high), 200)
    if before is not None:
        plane.horizontal(before, "at training")
    plane.line(numbers, values)
    for week, value in zip(weeks, values, strict=True):
        words = f"{week.start}: {shown(value)}, {week.rows:,} rows{' (few)' if week.few else ''}"
        plane.dot(week.number, value, 5 if week.few else 0, title=words)
    return Picture(f"{title}: {shown(values[-1])}", "", (plane.svg(f"The {title} by week"),))


def _matrices(made: Evaluation) -> list[Picture]:
    """How the rows of each class were predicted, at training and now."""
    import numpy as np

    classes = (1, -1) if made.manifest.task == "anomaly" else made.manifest.classes
    names = [cut(str(each), 20) for each in classes]
    pictures = []
    for title, measured in (("At training", made.before), ("Now", made.now)):
        if "confusion_matrix" in measured and len(names) <= LARGEST_MATRIX:
            counts = np.array(measured["confusion_matrix"])
            svg = matrix(f"{title}: actual and predicted classes", counts, names, "actual", "predicted")
            pictures.append(Picture(title, "", (svg,)))
    return pictures
