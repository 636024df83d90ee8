"""Files of fitted models: every format by what it holds, versions first, hostile files."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tests.support.pipelines import Fickle, squared
from training.__main__ import main
from training.errors import TrainingError
from training.importing import files, versions
from training.importing.files import Opened, Trust

HERE = sklearn.__version__
OTHER = "1.4.2"


def model() -> Any:
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 3))
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, rows[:, 0] > 0)


def opened(path: Path, **trust: Any) -> Opened:
    return files.opened(path, Trust(**trust), "python -m training package")


WRITERS: dict[str, Callable[[Any, Path], object]] = {
    **{
        f"pickle {protocol}": lambda given, path, protocol=protocol: path.write_bytes(
            pickle.dumps(given, protocol)
        )
        for protocol in range(6)
    },
    "pickle gzip": lambda given, path: path.write_bytes(gzip.compress(pickle.dumps(given))),
    "joblib": joblib.dump,
    **{
        f"joblib {packed}": lambda given, path, packed=packed: joblib.dump(given, path, compress=packed)
        for packed in (1, "zlib", "gzip", "bz2", "lzma", "xz")
    },
}  # type: ignore[dict-item, misc]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_pickle_of_any_kind_is_known_by_what_it_holds(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"  # whatever its name is
    given = model()
    WRITERS[writer](given, path)
    with pytest.raises(TrainingError, match=r"is a pickle, and opening a pickle runs .*: add --trust if"):
        opened(path)
    made = opened(path, pickle=True)
    assert made.imported["versions"] == {"scikit-learn": HERE}
    assert made.imported["source"] == "model.onnx"
    assert len(made.imported["sha256"]) == 64
    rows = np.random.default_rng(1).normal(size=(9, 3))
    assert (made.model.predict_proba(rows) == given.predict_proba(rows)).all()


@pytest.mark.parametrize("writer", WRITERS)
def test_another_version_is_refused_before_the_file_is_opened(
    writer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.bin"
    WRITERS[writer](Bomb(tmp_path / "opened", OTHER, model()), path)
    assert main(["package", str(path), "--sample", "rows.csv", "--trust"]) == 2
    first, *lines = capsys.readouterr().err.splitlines()
    assert f"was saved with scikit-learn {OTHER}, and here is {HERE}" in first
    assert [line.split()[0].rsplit("/")[-1] for line in lines] == ["python", "python", "python"]
    assert f" install scikit-learn=={OTHER} " in lines[1]
    assert lines[2].endswith(f"-m training package {path} --sample rows.csv --trust")
    assert not (tmp_path / "opened").exists()


class Bomb:
    """What leaves a file behind when it is unpickled, and says that it is of another scikit-learn."""

    def __init__(self, path: Path, version: str, held: Any) -> None:
        self.state = {"held": held.steps[0][1].mean_, "_sklearn_version": version}
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"), None, None, iter([("state", self.state)]))


def test_versions_that_are_too_old_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"1\.2\.2; models of 1\.3 and newer are packaged"):
        versions.check("m.pkl", versions.Needs(("1.2.2",)), "")


def test_a_library_that_is_not_here_is_named_before_the_file_is_opened(tmp_path: Path) -> None:
    for protocol in range(6):
        path = tmp_path / f"{protocol}.pkl"
        content = pickle.dumps(Fickle(), protocol)
        content = content.replace(b"tests.support.pipelines", b"imblearn.ensemble._wood")
        path.write_bytes(content)
        with pytest.raises(
            TrainingError, match="needs imblearn, which is not installed: pip install imbalanced-"
        ):
            opened(path, pickle=True)


def test_a_file_that_names_no_version_is_opened_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    main(["package", str(path), "--sample", "rows.csv", "--trust"])
    assert "does not say which scikit-learn it was saved with" in capsys.readouterr().out


def test_scikit_learns_own_warning_counts_where_the_scan_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    content = pickle.dumps((HERE, model()), 4)  # so the version stands before its key, in the memo
    path.write_bytes(content.replace(HERE.encode(), b"1.9.0") if len(HERE) == 5 else content)
    with pytest.raises(TrainingError, match=r"was saved with scikit-learn 1\.9\.0"):
        opened(path, pickle=True)


def test_a_version_is_found_wherever_a_block_ends() -> None:
    content = b"\x00" * 5000 + pickle.dumps({"_sklearn_version": "1.3.2"}) + b"\x00" * 5000
    for size in (1, 7, 64, 1000, 5020, 5031):
        blocks = (content[start : start + size] for start in range(0, len(content), size))
        assert versions.of_pickle(blocks).sklearn == ("1.3.2",)


@pytest.mark.parametrize("compress", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_skops_file_lists_what_is_to_be_trusted(compress: int, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 2))
    given = make_pipeline(FunctionTransformer(squared), LogisticRegression()).fit(rows, rows[:, 0] > 0)
    path = tmp_path / "model.bin"
    skops.io.dump(given, path, compression=compress)
    name = "tests.support.pipelines.squared"
    with pytest.raises(TrainingError, match=f"if you do, add: --trust-type {name}$"):
        opened(path)
    with pytest.raises(TrainingError, match=f"add: --trust-type {name}$"):
        opened(path, pickle=True, types=("another.Type",))
    made = opened(path, types=(name,))
    assert made.imported["versions"] == {"scikit-learn": HERE}
    assert (made.model.predict(rows) == given.predict(rows)).all()


def test_a_skops_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model()))) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(HERE.encode(), OTHER.encode()))
    with pytest.raises(TrainingError, match=f"was saved with scikit-learn {OTHER}"):
        opened(path)


LENGTHS = (b"\x80\x04\x8d" + b"\xff" * 8, b"\x80\x04B\xff\xff\xff\x7f", b"\x80\x04\x95" + b"\xff" * 8)
HOSTILE = {
    "empty": (b"", "is empty"),
    "text": (b"hello, world, this is a text", "is none of what is read"),
    "json": (b'{"learner": {}}', "XGBoost's own format"),
    "lightgbm": (b"tree\nversion=v4\n", "LightGBM's own format"),
    "keras": (b"\x89HDF\r\n\x1a\n" + b"\0" * 90, "HDF5"),
    "cut short": (pickle.dumps(list(range(1000)))[:500], "cannot be opened"),
    "gzip cut short": (gzip.compress(bytes(range(256)) * 500)[:300], "cut short"),
    "zlib damaged": (b"\x78\x9c" + b"\xff" * 500, "cut short"),
    "zip cut short": (b"PK\x03\x04" + b"\0" * 50, "not a whole zip archive"),
    "nested deeply": (b"\x80\x04" + b"(" * 1_000_000 + b"]" + b"\x85" * 1_000_000 + b".", ""),
    **{f"huge length {index}": (content, "cannot be opened") for index, content in enumerate(LENGTHS)},
    "huge memo": (b"\x80\x04Nr" + struct.pack("<I", 0x7FFFFFFF) + b".", "cannot be opened"),
    "half a surrogate": (
        b"\x80\x04\x8c\x10_sklearn_version\x8c\x05\xff\xfe\xfd\xfc\xfb.",
        "cannot be opened",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gives_a_clear_line(name: str, tmp_path: Path) -> None:
    content, reason = HOSTILE[name]
    path = tmp_path / "m.pkl"
    path.write_bytes(content)
    with pytest.raises(TrainingError) as raised:
        opened(path)
    assert "\n" not in str(raised.value)
    if "cannot be opened" not in reason:  # it is refused without being opened
        assert reason in str(raised.value)


@pytest.mark.slow
def test_what_unpacks_to_much_is_looked_through_in_little_memory(tmp_path: Path) -> None:
    """Half a megabyte that unpacks to 512 MiB, through a process that stays small."""
    path = tmp_path / "m.pkl.gz"
    chunk, pack = b"\x80\x04" + b"\0" * (1 << 20), zlib.compressobj(9, wbits=-15)
    packed = pack.compress(chunk) + pack.flush(zlib.Z_FULL_FLUSH)  # after which the next is the same bytes
    check = 0
    for _ in range(512):
        check = zlib.crc32(chunk, check)
    ending = pack.flush() + struct.pack("<II", check, 512 * len(chunk))
    path.write_bytes(gzip.compress(b"")[:10] + packed * 512 + ending)
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from training.errors import TrainingError\n"
        "from training.importing.files import Trust, opened\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    opened(Path(sys.argv[1]), Trust(), '')\n"
        "except TrainingError as error:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024 * (1024 if sys.platform == "darwin" else 1)
