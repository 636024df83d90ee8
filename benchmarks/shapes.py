"""Files as people have them: other models, other tables, rejected rows, packed or quoted, many small ones.

Beside this handler stands what a notebook would do, pandas in chunks with the pickled pipeline, and where a
model is one expression, polars and DuckDB.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks import results, tables
from benchmarks.batches import choose, scoring, side_by_side
from benchmarks.environments import CONTENDERS, environment, versions
from benchmarks.processes import Contender, run

#: The models that score the mixed table, with their titles.
MODELS = {
    "logistic": "logistic regression",
    "forest": "random forest, 100 trees of depth 12",
    "hist": "scikit-learn's histogram gradient boosting, 100 trees of 31 leaves",
    "boosting": "scikit-learn's gradient boosting, 100 trees of depth 3",
    "lightgbm": "LightGBM, 100 trees of 31 leaves",
    "mlp": "neural network, one hidden layer of 32",
}
#: Rows to learn from; fewer where they are wide.
TRAINING = 20_000
#: Other tables: what makes them, the pipeline, the rows to learn from, and the share of ``ROWS`` to score.
TABLES = {
    "narrow": ("5 columns", tables.narrow, "logistic", TRAINING, 1.0),
    "wide": ("500 columns", tables.wide, "logistic", 2_000, 0.04),
    "classes": ("20 mixed columns, 20 classes", tables.of_classes, "logistic", TRAINING, 0.2),
    "texts": ("a text of 5 to 60 words", tables.reviews, "texts", TRAINING, 0.1),
}
#: Rows of the mixed table.
ROWS = 1_000_000
#: Files that the rows of one large file are divided into.
SMALL_FILES = 1000


def compare(folder: Path, rows: int, runs: int) -> None:
    """Measure every part; ``rows``: those of the mixed table."""
    home = folder / "shapes"
    home.mkdir()
    _mixed(home, rows, runs)
    for name, (title, make, pipeline, training, share) in TABLES.items():
        bundle = _trained(home, name, make, pipeline, training)
        source = home / f"{name}.csv"
        count = max(1, round(rows * share))
        tables.write_rows(source, make, count)
        title = f"Batch: {count:,} rows, {title}, {MODELS.get(pipeline, 'words and logistic regression')}"
        _beside_pandas(name, title, source, bundle, home, runs)
        source.unlink()


def choices(folder: Path, rows: int, runs: int) -> None:
    """The block sizes and workers that the defaults were chosen from, on the mixed table."""
    source = folder / "mixed.csv"
    tables.write_rows(source, tables.mixed, rows)
    bundle = _trained(folder, "logistic", tables.mixed, "logistic")
    choose("choices_mixed", "Block size and workers, 20 mixed columns", source, bundle, folder, runs)


def _mixed(home: Path, rows: int, runs: int) -> None:
    """The mixed table: by each model, rejected rows, packed, quoted, in small files, ten times as large."""
    source = home / "mixed.csv"
    tables.write_rows(source, tables.mixed, rows)
    for model, title in MODELS.items():
        bundle = _trained(home, model, tables.mixed, model)
        title = f"Batch: {rows:,} rows, 20 mixed columns, {title}"
        _beside_pandas(f"mixed_{model}", title, source, bundle, home, runs, plain=model == "logistic")
    bundle = home / "logistic"
    _rejected(source, bundle, home, rows, runs)
    packed = tables.packed(source)
    title = f"Batch: {rows:,} rows, 20 mixed columns, packed by gzip, logistic regression"
    _beside_pandas("packed", title, packed, bundle, home, runs)
    packed.unlink()
    quoted = tables.quoted(source)
    title = f"Batch: {rows:,} rows, 20 mixed columns, every cell in quotes, logistic regression"
    _beside_pandas("quoted", title, quoted, bundle, home, runs)
    quoted.unlink()
    _objects(source, bundle, home, rows, runs)
    source.unlink()
    _memory(bundle, home, rows)


def _trained(home: Path, name: str, make: tables.Maker, pipeline: str, rows: int = TRAINING) -> Path:
    """A bundle of the pipeline, trained on rows of the table."""
    data, bundle = home / f"{name} train.csv", home / name
    tables.write_training(data, make, rows)
    words = ("--data", str(data), "--target", tables.TARGET, "--out", str(bundle), "--quiet")
    command = (sys.executable, "-m", "training", "--pipeline", f"benchmarks.pipelines:{pipeline}", *words)
    run(Contender(f"training {name}", command, {}))
    data.unlink()
    runtime = json.loads((bundle / "model.json").read_text())["runtime"]
    if runtime != "onnx":
        raise RuntimeError(f"{name} is served by {runtime}, not by its graph")
    return bundle


def _beside_pandas(
    name: str, title: str, source: Path, bundle: Path, home: Path, runs: int, *, plain: bool = False
) -> None:
    """This handler and pandas; ``plain``: and those that score by one expression."""
    scored = home / "scored" / source.name / "predictions.csv"
    ours = scoring("this handler", source, home / "scored", {"MODEL_DIR": str(bundle)})
    contenders, others = [ours], []
    settings = {ours.name: f"default settings; {versions('', 'polars', 'onnxruntime')}"}
    if plain:
        for contender, written, setting in _expressions(source, bundle, home):
            contenders.append(contender)
            others.append(written)
            settings[contender.name] = setting
    pandas = _pandas(source, home / "pandas.csv", bundle)
    contenders.append(pandas)
    settings[pandas.name] = f"chunks of 100,000 rows; {versions('', 'pandas', 'scikit-learn')}"
    side_by_side(
        name,
        title,
        contenders,
        runs,
        files=(source, scored),
        settings=settings,
        check=lambda: same_predictions(scored, home / "pandas.csv", *others),
    )


def _pandas(source: Path, target: Path, bundle: Path) -> Contender:
    words = (str(CONTENDERS / "pandas_chunks.py"), str(source), str(target), str(bundle), "100000")
    return Contender("pandas chunks and the pickled pipeline", (sys.executable, *words), {})


def _expressions(source: Path, bundle: Path, home: Path) -> list[tuple[Contender, Path, str]]:
    """polars and DuckDB, each with the file that it writes, and how it is set up."""
    form = json.dumps(linear_form(bundle))
    made = []
    polars, words = home / "polars.csv", str(CONTENDERS / "polars_expression.py")
    command = (sys.executable, words, str(source), str(polars), form)
    name = "polars: scan_csv, expression, sink_csv (no row checked)"
    made.append((Contender(name, command, {}), polars, versions("", "polars")))
    programs = environment("duckdb_sql")
    if programs is not None:
        duckdb, words = home / "duckdb.csv", str(CONTENDERS / "duckdb_sql" / "duckdb_expression.py")
        command = (str(programs / "python"), words, str(source), str(duckdb), form)
        name = "DuckDB: read_csv, expression, COPY (no row checked)"
        made.append((Contender(name, command, {}), duckdb, versions("duckdb_sql", "duckdb")))
    return made


def _rejected(source: Path, bundle: Path, home: Path, rows: int, runs: int) -> None:
    """The same rows with none, 1 % and 50 % of them rejected."""
    contenders = [
        scoring("this handler, no row rejected", source, home / "scored", {"MODEL_DIR": str(bundle)})
    ]
    made = []
    for share in (0.01, 0.5):
        bad = home / f"rejected {share}.csv"
        tables.write_rows(bad, tables.mixed, rows, share)
        made.append(bad)
        name = f"this handler, {share:.0%} of the rows rejected"
        contenders.append(scoring(name, bad, home / "scored", {"MODEL_DIR": str(bundle)}))
    side_by_side("rejected", f"Batch: {rows:,} rows, 20 mixed columns, rejected rows", contenders, runs)
    for bad in made:
        bad.unlink()


def _objects(source: Path, bundle: Path, home: Path, rows: int, runs: int) -> None:
    """One large file, and the same number of rows in a thousand small ones."""
    small, each = home / "small", max(1, rows // SMALL_FILES)
    tables.write_small(small, tables.mixed, SMALL_FILES, each)
    env = {"MODEL_DIR": str(bundle)}
    contenders = [
        scoring("this handler, one file", source, home / "scored", env),
        scoring(f"this handler, {SMALL_FILES:,} files", small, home / "scored", env),
        _pandas(small, home / "pandas", bundle),
    ]
    contenders[2] = Contender(f"pandas, {SMALL_FILES:,} files", contenders[2].command, {})
    (home / "pandas").mkdir()
    title = f"Batch: {rows:,} rows of 20 mixed columns in one file, and in {SMALL_FILES:,} files"
    side_by_side("objects", title, contenders, runs)
    for folder in (small, home / "scored", home / "pandas"):
        shutil.rmtree(folder)


def _memory(bundle: Path, home: Path, rows: int) -> None:
    """The peak memory of the mixed table, and of one ten times as large."""
    peaks, notes = {}, {}
    for times in (1, 10):
        source = home / f"mixed times {times}.csv"
        tables.write_rows(source, tables.mixed, rows * times)
        done = [run(scoring("", source, home / "scored", {"MODEL_DIR": str(bundle)})) for _ in range(3)]
        name = f"this handler, {source.stat().st_size / 1e6:,.0f} MB in"
        peaks[name] = [each.megabytes for each in done]
        notes[name] = f"{min(each.seconds for each in done):.1f} s"
        source.unlink()
    title = "Peak memory of a batch of 20 mixed columns, logistic regression"
    results.keep("memory_mixed", results.table(title, peaks, unit="MB", notes=notes))


def linear_form(bundle: Path) -> dict[str, Any]:
    """The pickled pipeline as one expression: what each column adds by its number, or by its level."""
    import joblib

    pipeline = joblib.load(bundle / "model.joblib")
    columns, model = pipeline[0], pipeline[-1]
    encoder = columns.named_transformers_["onehotencoder"]
    scaler = columns.named_transformers_["remainder"]
    weights = model.coef_[0].tolist()
    levels = {}
    for name, categories in zip(encoder.feature_names_in_, encoder.categories_, strict=True):
        levels[name] = dict(zip(categories.tolist(), weights[: len(categories)], strict=True))
        weights = weights[len(categories) :]
    scaled = [weight / scale for weight, scale in zip(weights, scaler.scale_.tolist(), strict=True)]
    centre = sum(weight * mean for weight, mean in zip(scaled, scaler.mean_.tolist(), strict=True))
    numbers = dict(zip(scaler.feature_names_in_, scaled, strict=True))
    for name in [name for name in numbers if name.startswith("flag")]:
        levels[name] = {"true": numbers.pop(name), "false": 0.0}
    return {
        "coefficients": numbers,
        "levels": levels,
        "intercept": float(model.intercept_[0]) - centre,
        "classes": model.classes_.tolist(),
    }


def same_predictions(ours: Path, *others: Path) -> None:
    """Raise ``AssertionError`` unless labels are the same, and probabilities within 1e-6."""
    import polars as pl
    import polars.selectors as cs

    wanted = pl.col("prediction"), cs.starts_with("probability")
    expected = pl.scan_csv(ours).select(wanted).collect()
    for other in others:
        given = pl.scan_csv(other).select(wanted).collect()
        different = (given["prediction"] != expected["prediction"]).sum()
        assert different == 0, f"{other.name}: {different} labels differ"
        names = expected.columns[1:]
        furthest = (expected.select(names) - given.select(names)).select(pl.all().abs().max()).row(0)
        assert max(furthest) < 1e-6, f"{other.name}: probabilities differ by {max(furthest)}"
