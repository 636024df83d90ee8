"""What the command line refuses: exit code 2, one line, perhaps a command that trains, and no bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from training.__main__ import main

FINE = "a,y\n" + "1,0\n2,1\n" * 20


def _rows(header: str, row: Callable[[int], str], count: int = 200) -> str:
    return header + "\n" + "\n".join(row(place) for place in range(count)) + "\n"


@pytest.mark.parametrize(
    ("content", "arguments", "told"),
    [
        pytest.param("", [], "is empty", id="empty"),
        pytest.param("\n \n", [], "is empty", id="blank"),
        pytest.param("a,y\n", [], "no rows", id="header only"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00", [], "rows.csv is a PNG image, not a CSV", id="PNG"),
        pytest.param(bytes(range(8, 90)), [], "rows.csv is binary", id="binary"),
        pytest.param("a,y\n1,\x002\n", [], "NUL", id="NUL"),
        pytest.param('{"a": 1}', [], "rows.csv is JSON, not a CSV", id="JSON"),
        pytest.param("a b y\n1 2 3\n", [], "one column", id="one column"),
        pytest.param("a,y\n1,2\n1,2,3\n", [], "line 3 has 3 cells", id="long row"),
        pytest.param("a,y\n1\n1,2\n", [], "line 2 has 1 cells", id="short row"),
        pytest.param('a,y\n1,"2\n3,4\n', [], "not a CSV", id="unclosed quote"),
        pytest.param(FINE, ["--target", "Y"], "did you mean 'y'?", id="target near"),
        pytest.param(FINE, ["--target", "converted"], "the columns are: a, y", id="target missing"),
        pytest.param(
            "a,y\n1,1\n2,\n", [], "missing in 1 row of 2, and fewer than 20", id="target with gaps"
        ),
        pytest.param("a,y\n1,1\n2,1\n", [], "same value in every row", id="constant target"),
        pytest.param("a,y\n" + "1,1.5\n2,1.50\n" * 9, [], "one value in every row", id="one number"),
        pytest.param(
            _rows("a,y", lambda i: f"{i},{i % 2 if i > 120 else 'NA'}"),
            [],
            "the target 'y' is missing in 121 rows of 200 (NA), which is more than half",
            id="target NA",
        ),
        pytest.param(
            _rows("a,y", lambda i: f"{i},{['no', 'yes', 'nan', ' ', ' N/A '][i % 5]}"),
            [],
            "the target 'y' is missing in 120 rows of 200 (empty, N/A, nan), which is more than half",
            id="target of texts, with gaps",
        ),
        pytest.param(
            _rows("a,y", lambda i: f"{i}," + (str(i / 7) if i > 19 else '"12,5"')),
            [],
            "'y' holds numbers, and in 20 rows another text, such as '12,5'; correct or empty",
            id="decimal comma",
        ),
        pytest.param(
            _rows("a,y", lambda i: f"{i},{i / 7 if i > 19 else 'x'}"),
            ["--pipeline", "linear"],
            "'y' holds numbers, and in 20 rows another text, such as 'x'",
            id="a text for a regressor",
        ),
        pytest.param(
            _rows("a,y", lambda i: f"{i},{i / 7 if i else 'x'}"),
            ["--pipeline", "logistic"],
            "'y' holds numbers, and in 1 row another text, such as 'x'",
            id="a text for a classifier",
        ),
        pytest.param(
            "a,y\n1,p\n2,p\n3,q\n", [], "same value in every row", id="one class, and one of one row"
        ),
        pytest.param(
            _rows("a,y", lambda i: f"{i},t{i}"), [], "most stand in one row only", id="text target"
        ),
        pytest.param("a,y\n1,0\n2,0\n3,1\n4,1\n", ["--test-size", "0.1"], "too few", id="too few rows"),
        pytest.param(
            _rows("a,y", lambda i: f"x{i},{i % 2}"), [], "'a' identifies the row", id="nothing but an id"
        ),
        pytest.param(
            _rows("a,y", lambda i: f",{i % 2}"), [], "'a' has no value in any row", id="empty column"
        ),
        pytest.param(_rows("a,y", lambda i: f"7,{i % 2}"), [], "'a' has the same value", id="constant"),
        pytest.param(FINE, ["--pipeline", "logstic"], "no pipeline 'logstic'", id="pipeline unknown"),
        pytest.param(FINE, ["--pipeline", "absent:f"], "cannot be imported", id="pipeline's module"),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:absent"], "no 'absent'", id="pipeline's name"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:NO_FUNCTION"], "no function", id="no function"
        ),
        pytest.param(FINE, ["--pipeline", "builtins:dict"], "fails: ValueError", id="builtin"),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:broken"], "RuntimeError: first line", id="broken"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:no_estimator"], "gives a str", id="no estimator"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:clusterer"], "without a target", id="clusterer"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:density_clusters"], "DBSCAN, which", id="DBSCAN"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:outliers_within"], "novelty=True", id="outliers"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:components"], "PCA, which transforms", id="PCA"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:unfit"], "InvalidParameterError", id="unfit"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:unpicklable"], "pickled", id="unpicklable"
        ),
        pytest.param("a,y\n1,p\n2,q\n" * 9, ["--pipeline", "linear"], "predicts numbers", id="text target"),
        pytest.param(FINE, ["--test-size", "1"], "between 0 and 1", id="test size 1"),
        pytest.param(FINE, ["--test-size", "nan"], "between 0 and 1", id="test size nan"),
        pytest.param(FINE, ["--test-size", "half"], "--test-size", id="test size no number"),
        pytest.param(FINE, ["--seed", "-1"], "--seed", id="seed"),
        pytest.param(FINE, ["--name", "a b"], "--name", id="name"),
        pytest.param(FINE, ["--unknown"], "--unknown", id="unknown option"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | bytes,
    arguments: Sequence[str],
    told: str,
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    out = tmp_path / "model"
    assert main(["--data", str(path), "--target", "y", "--out", str(out), *arguments]) == 2
    error, *cure = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert told in error
    assert not cure or (len(cure) == 2 and "this command would train" in cure[0])
    assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "absent.csv"), "--out", str(tmp_path / "model")]) == 2
    assert "absent.csv does not exist" in capsys.readouterr().err
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "model")]) == 2
    assert "has no data files" in capsys.readouterr().err


def test_a_folder_that_is_no_bundle_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["--out", str(tmp_path)]) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "thesis.txt")]) == 2
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("flag", ["--out", "--report"])
@pytest.mark.parametrize("where", ["thesis.txt/model", "/proc/model", "link/model"])
def test_a_folder_that_cannot_be_written_is_known_before_the_table_is_read(
    flag: str,
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "link").symlink_to("nowhere")
    assert main(["--data", "absent.csv", "--out", "model", flag, where]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {where} cannot be written: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "thesis.txt"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (
            ["--tarket", "y"],
            "there is no flag '--tarket'; did you mean '--target'? (see python -m training",
        ),
        (["pakage", "m.pkl"], "there is no argument 'pakage'; did you mean 'package'?"),
        (["package", "m.pkl", "--sampel=x"], "there is no flag '--sampel'; did you mean '--sample'?"),
        (["package"], "MODEL"),
    ],
)
def test_a_mistyped_word_has_a_hint(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["package"]])
def test_help_has_examples_and_exit_codes(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "--version"):
        with pytest.raises(SystemExit) as end:
            main([*words, flag])
        assert end.value.code == 0
    shown = capsys.readouterr().out
    assert f"examples:\n  {' '.join(['python -m training', *words])} " in shown
    assert "exit codes:\n  0  done\n  2  bad input" in shown
