"""The fitted estimator itself as a scorer, fed as training fed it; it loads scikit-learn and pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from handler.errors import BundleError
from handler.manifest import JOBLIB, UNSUPERVISED, Contract, Feature, RowsAs, Task
from handler.schema import Columns
from handler.scoring.scorers import Scores, class_index, models_code
from handler.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from handler.categories import Coded

#: The estimator's method that gives the score of a row, by the task; a clusterer may have none.
SCORE_METHODS: Mapping[Task, str] = {"anomaly": "decision_function", "cluster": "score_samples"}


class JoblibScorer:
    """The fitted estimator itself, fed as training fed it; loads scikit-learn and pandas."""

    def __init__(self, estimator: Any, contract: Contract) -> None:
        self._estimator = estimator
        self._contract = contract
        self._index = class_index(own_labels(estimator, contract))
        self._classes = contract.classes if contract.task in UNSUPERVISED else None
        self._before, self._last = _parts(estimator)
        score = SCORE_METHODS.get(contract.task, "")
        self._score = getattr(self._last, score) if hasattr(estimator, score) else None

    def score(self, columns: Columns) -> Scores:
        import numpy as np

        rows = fed(self._contract.features, columns, self._contract.rows_as)
        with models_code(), np.errstate(all="ignore"):  # what is not finite is seen in the scores
            for step in self._before:
                rows = step.transform(rows)
            values = np.reshape(self._last.predict(rows), -1)  # CatBoost's of three classes is (n, 1)
            has = self._index is not None and hasattr(self._estimator, "predict_proba")
            probabilities = self._last.predict_proba(rows) if has else None
            score = None if self._score is None else self._score(rows)
            if self._classes is not None and not np.isin(values, self._classes).all():
                raise ValueError("a label that is not one of the model's")
        if self._index is None:
            return Scores(values.astype("float64", copy=False), None)
        return Scores(self._index(values), probabilities, score)


def _parts(estimator: Any) -> tuple[list[Any], Any]:
    """The steps of a pipeline that transform rows, and the last one, which is asked several things of them.

    Each method of ``Pipeline`` would transform them anew. Another estimator, also one derived from it, is
    the last one itself.
    """
    kind = type(estimator)
    if (kind.__module__, kind.__qualname__) != ("sklearn.pipeline", "Pipeline"):
        return [], estimator
    *before, last = (step for _, step in estimator.steps)
    return [step for step in before if step is not None and step != "passthrough"], last


def own_labels(estimator: Any, contract: Contract) -> tuple[Any, ...]:
    """An estimator's own labels, which the contract's classes stand for, one for one."""
    if not contract.classes or contract.task in UNSUPERVISED:
        return contract.classes
    return tuple(estimator.classes_.tolist())


def fed(features: Sequence[Feature], columns: Columns, rows_as: RowsAs = "frame") -> Any:
    """The columns as the estimator is fed them, in fitting and afterwards.

    They are a DataFrame, an array, or the only column's texts, shape (n,). An array has the dtype that its
    columns have in common; with texts among them, it holds objects.
    """
    import numpy as np

    every = {feature.name: _fed(feature, columns[feature.name]) for feature in features}
    if rows_as == "texts":
        (only,) = every.values()
        return np.asarray(only, object)
    if rows_as == "frame":
        import pandas as pd

        if all(isinstance(each, np.ndarray) and each.dtype == np.float64 for each in every.values()):
            # At once, and once: column by column, pandas takes its time for thousands.
            return pd.DataFrame(np.array(list(every.values())).T, columns=list(every), copy=False)
        return pd.DataFrame(every)
    texts = any(feature.is_text for feature in features)
    return np.column_stack([np.asarray(each, object if texts else None) for each in every.values()])


def _fed(feature: Feature, values: Any) -> Any:
    """One column as ``Feature.fed_as`` says.

    Numbers that a whole-number dtype cannot hold, and missing ones, make the column float64, as in pandas.
    """
    import numpy as np

    if feature.is_text:
        return _fed_texts(feature, values)
    if feature.fed_as is None:
        return values
    dtype = np.dtype(feature.fed_as)
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
    return cast if dtype.kind == "f" or (cast == values).all() else values


def _fed_texts(feature: Feature, column: np.ndarray | Coded) -> Any:
    import numpy as np

    from handler.categories import Numbering, texts_of

    if feature.fed_as == "category":
        import pandas as pd

        codes = Numbering(feature).codes(column)
        known = np.where(codes < len(feature.categories), codes, -1)
        return pd.Categorical.from_codes(known, list(feature.categories))
    values = texts_of(column)
    if feature.fed_as is None:
        return values
    if feature.fed_as == "nan":
        return np.where(values == "", np.nan, values)
    import pandas as pd

    given: Any = values.copy()
    given[values == ""] = None
    return pd.Series(given, dtype=object)  # else pandas would make NaN of None


def unpickle(content: bytes) -> Any:
    """The estimator in verified ``model.joblib`` bytes; raises ``BundleError``."""
    import io

    try:
        import joblib
        import sklearn  # noqa: F401  nearly every pickle needs it
    except ImportError as error:
        raise BundleError(
            f"{error.name} is not installed, and this bundle is served from {JOBLIB}: install "
            "requirements/joblib.txt"
        ) from error
    try:
        return joblib.load(io.BytesIO(content))
    except (ImportError, AttributeError) as error:
        raise BundleError(
            f"{JOBLIB} needs code that is not here ({error}): put the module that defines "
            "your pipeline beside the handler"
        ) from error
