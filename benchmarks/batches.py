"""Files scored from disk to disk: beside pandas, polars and DuckDB, by size, and by setting."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.environments import CONTENDERS, environment, versions
from benchmarks.processes import Contender, Run, run


def batch(bundle: Path, folder: Path, rows: int, runs: int, *, distinct: bool = False) -> None:
    """A file of three columns scored from disk to disk."""
    source = folder / "customers.csv"
    (write_distinct if distinct else write_customers)(source, rows)
    coefficients = json.dumps(linear_form(bundle))
    scored = folder / "scored" / source.name / "predictions.csv"

    def script(name: str, output: str, *words: str) -> tuple[str, ...]:
        return (sys.executable, str(CONTENDERS / name), str(source), str(folder / output), *words)

    contenders = [
        scoring("this handler", source, folder / "scored", {"MODEL_DIR": str(bundle)}),
        Contender(
            "polars: scan_csv, expression, sink_csv (no row checked)",
            script("polars_expression.py", "polars.csv", coefficients),
            {},
        ),
        Contender(
            "pandas chunks and scikit-learn", script("pandas_chunks.py", "pandas.csv", str(bundle)), {}
        ),
    ]
    ours, polars, pandas = (contender.name for contender in contenders)
    settings = {
        ours: f"python -m handler score, default settings; {versions('', 'polars', 'onnxruntime')}",
        polars: f"the streaming engine, all processors; {versions('', 'polars')}",
        pandas: f"chunks of 250,000 rows; {versions('', 'pandas', 'scikit-learn')}",
    }
    others = [folder / "polars.csv", folder / "pandas.csv"]
    programs = environment("duckdb_sql")
    if programs is not None:
        _, *words = script("duckdb_sql/duckdb_expression.py", "duckdb.csv", coefficients)
        duckdb = Contender(
            "DuckDB: read_csv, expression, COPY (no row checked)", (str(programs / "python"), *words), {}
        )
        contenders.insert(2, duckdb)
        settings[duckdb.name] = versions("duckdb_sql", "duckdb")
        others.append(folder / "duckdb.csv")
    kind = "all different" if distinct else "few of them different, as in the real file"
    title = f"Batch: {rows:,} rows, {kind}"
    side_by_side(
        "distinct" if distinct else "batch",
        title,
        contenders,
        runs,
        files=(source, scored),
        settings=settings,
        check=lambda: same_predictions(scored, *others),
    )


def memory(bundle: Path, folder: Path, rows: int) -> None:
    """Peak memory of scoring a file, and one ten times as large."""
    peaks, notes = {}, {}
    for times in (1, 10):
        source = folder / f"times{times}.csv"
        write_customers(source, rows * times)
        contender = scoring("", source, folder / "scored", {"MODEL_DIR": str(bundle)})
        done = [run(contender) for _ in range(3)]
        name = f"this handler, {source.stat().st_size / 1e6:,.0f} MB in"
        peaks[name] = [each.megabytes for each in done]
        notes[name] = f"{statistics.median(each.seconds for each in done):.1f} s"
        source.unlink()
    results.keep("memory", results.table("Peak memory of a batch", peaks, unit="MB", notes=notes))


def choices(bundle: Path, folder: Path, rows: int, runs: int) -> None:
    """The block sizes and workers that the defaults were chosen from, on the book's columns."""
    source = folder / "customers.csv"
    write_customers(source, rows)
    choose("choices", "Block size and workers, 3 columns", source, bundle, folder, runs)


def choose(name: str, title: str, source: Path, bundle: Path, folder: Path, runs: int) -> None:
    """Score a file by several block sizes and workers."""
    contenders = [
        scoring(
            f"{workers} workers, blocks of {size / 1048576:g} MiB",
            source,
            folder / "scored",
            {"MODEL_DIR": str(bundle), "WORKERS": str(workers), "BLOCK_BYTES": str(size)},
        )
        for workers in (3, 2, 4)
        for size in (3 << 18, 3 << 19, 1 << 21)
    ]
    side_by_side(name, title, contenders, runs)


def side_by_side(
    name: str,
    title: str,
    contenders: Sequence[Contender],
    runs: int,
    files: tuple[Path, Path] | None = None,
    settings: Mapping[str, str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Run the contenders in turn, and keep their table.

    One round does not count; ``check`` is called after it, to compare what they wrote. ``files``: what
    the first reads and writes.
    """
    for contender in contenders:
        run(contender)
    check()
    found: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for _ in range(runs):
        for contender in contenders:
            found[contender.name].append(run(contender))
    seconds = {each: [one.seconds for one in done] for each, done in found.items()}
    notes = {each: f"{max(one.megabytes for one in done):.0f} MB" for each, done in found.items()}
    told = f"Medians of {runs}; megabytes are the greatest peak."
    if files is not None:
        read, written = (path.stat().st_size / 1e6 for path in files)
        told = f"{read:.0f} MB in, {written:.0f} MB out, disk to disk, whole processes. {told}"
    results.keep(name, results.table(title, seconds, notes=notes, more=told, settings=settings))


def scoring(name: str, source: Path, output: Path, env: Mapping[str, str], *options: str) -> Contender:
    """Score with the handler, anew each time; ``options``: more of the command line."""
    script = (
        "import shutil, sys; from handler.__main__ import main; "
        "shutil.rmtree(sys.argv[2], ignore_errors=True); "
        "sys.exit(main(['score', sys.argv[1], '--output', *sys.argv[2:]]))"
    )
    return Contender(name, (sys.executable, "-c", script, str(source), str(output), *options), env)


def write_customers(path: Path, rows: int) -> None:
    """The synthetic sample without its target, repeated to so many rows."""
    from training.data import sample

    text = sample.rows(555).drop(columns="converted").to_csv(index=False)
    header, body = text.split("\n", 1)
    lines = body.splitlines(keepends=True)
    with path.open("w") as file:
        file.write(header + "\n")
        for start in range(0, rows, len(lines)):
            file.writelines(lines[: rows - start])


def write_distinct(path: Path, rows: int) -> None:
    """As many rows, of which hardly two are the same."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(555)
    columns = {
        "age": random.integers(17, 99, rows),
        "new_user": random.integers(0, 2, rows),
        "total_pages_visited": random.integers(1, 1_000_000_000, rows),
    }
    pl.DataFrame(columns).write_csv(path)


def linear_form(bundle: Path) -> dict[str, Any]:
    """The pickled pipeline as one linear expression over the columns."""
    import joblib

    pipeline = joblib.load(bundle / "model.joblib")
    scaler, model = pipeline[0].named_transformers_["numbers"][-1], pipeline[-1]
    coefficients = model.coef_[0] / scaler.scale_
    return {
        "coefficients": dict(zip(pipeline.feature_names_in_, coefficients.tolist(), strict=True)),
        "intercept": float(model.intercept_[0] - coefficients @ scaler.mean_),
    }


def same_predictions(ours: Path, *others: Path) -> None:
    """Raise ``AssertionError`` unless all files hold the same predictions."""
    import polars as pl

    frames = [pl.read_csv(path, columns=["prediction", "probability"]) for path in (ours, *others)]
    for frame in frames[1:]:
        assert (frame["prediction"] == frames[0]["prediction"]).all()
        assert (frame["probability"] - frames[0]["probability"]).abs().max() < 1e-9  # type: ignore[operator]
