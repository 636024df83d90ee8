"""``python -m handler drift``: many summaries on one page."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from handler.__main__ import main
from tests.support.bundles import mixed_rows
from tests.support.cloud import GCS, S3


def day(number: int, older: float = 0.0) -> pd.DataFrame:
    rows = mixed_rows(150, seed=number).drop(columns=["class", "price"])
    return rows.assign(âge=rows["âge"] + older)


@pytest.fixture(scope="module")
def summaries(mixed_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of 150 rows on each of ten days, of which the last three shift more and more."""
    folder = tmp_path_factory.mktemp("days")
    (folder / "in").mkdir()
    for number in range(20):
        day(number, 15.0 * max(0, number // 2 - 6)).to_csv(folder / "in" / f"{number:02}.csv", index=False)
    command = ["score", str(folder / "in"), "--output", str(folder / "out"), "--quiet"]
    assert main([*command, "--model", str(mixed_dir)]) == 0
    for number in range(20):
        dated(folder / "out" / f"{number:02}.csv" / "summary.json", f"2026-03-{1 + number // 2:02}")
    return folder / "out"


def dated(path: Path, date: str) -> None:
    """Make a summary one that was written on another day."""
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "created": f"{date}T09:00:00+00:00"}))


class Page(HTMLParser):
    """The texts, pictures and links of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["drift", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_page_shows_every_feature_by_day(
    summaries: Path, mixed_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page.html"
    code, out, err = run(capsys, summaries, "--model", mixed_dir, "--output", output)
    assert code == 1
    assert err.startswith("error: the largest index of the last day, ")
    assert "3,000 rows of 20 files, from 2026-03-01 to 2026-03-10, by day" in out
    assert "âge " in out
    content = output.read_text(encoding="utf-8")
    page = Page(content)
    assert {"âge", "Straße", "the predictions"} <= set(page.texts)
    assert page.count("svg") == 7 + 6
    assert page.count("circle") >= 7 * 10
    assert page.count("script") == page.count("img") == page.count("link") == 0


def test_the_days_add_up(
    summaries: Path, mixed_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A day of two files has the drift of both files' rows in one."""
    flags = ["--model", mixed_dir, "--output", tmp_path / "page.html", "--json"]
    _, out, _ = run(capsys, summaries, *flags)
    document = json.loads(out)
    assert [each["start"] for each in document["periods"]] == [f"2026-03-{n:02}" for n in range(1, 11)]
    assert [each["files"] for each in document["periods"]] == [2] * 10
    pd.concat([day(18, 45.0), day(19, 45.0)]).to_csv(tmp_path / "both.csv", index=False)
    assert main(["score", str(tmp_path / "both.csv"), "--model", str(mixed_dir), "--quiet"]) == 0
    both = json.loads((tmp_path / "scored" / "both.csv" / "summary.json").read_text())
    assert document["periods"][-1]["drift"] == both["drift"]
    assert both["drift"]["largest"] > 0.25


def test_what_has_not_shifted_is_no_failure(
    summaries: Path, mixed_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", mixed_dir, "--output", tmp_path / "page.html"]
    before = [summaries / f"0{number}.csv" / "summary.json" for number in range(8)]
    assert run(capsys, *before, *flags)[::2] == (0, "")
    assert run(capsys, f"{summaries}/0[0-7]*/summary.json", *flags, "--limit", "0.0001")[0] == 1
    assert run(capsys, summaries, *flags, "--limit", "99")[0] == 0


def test_no_word_says_more_than_is_judged(
    mixed_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one row every index is large, and means nothing; of 150 rows, those of few bins are judged."""
    output = tmp_path / "page.html"
    for rows, judged in ((1, False), (150, True)):
        (tmp_path / "t.csv").write_text(day(1, 45.0).head(rows).to_csv(index=False))
        assert main(["score", str(tmp_path / "t.csv"), "--model", str(mixed_dir), "--quiet"]) == 0
        capsys.readouterr()
        flags = ["--model", mixed_dir, "--output", output, "--limit", 99]
        code, out, _ = run(capsys, tmp_path / "scored", *flags)
        content = output.read_text(encoding="utf-8")
        size = "1 row of 1 file" if rows == 1 else "150 rows of 1 file"
        assert code == 0
        assert f": {size}, from " in out
        assert f"{size} that " in content
        assert "1 rows" not in out + content
        assert "1 files" not in out + content
        assert ("too few to be judged" in out) is not judged
        assert ("too few rows" in content) is not judged
        assert "not judged" in content
        for text in (*out.splitlines()[2:-1], *Page(content).texts):
            if not judged and "shifted significantly" not in text:
                assert not any(word in text for word in ("stable", "moderate", "significant"))
    assert any(word in content for word in (">stable<", ">moderate<", ">significant<"))


@pytest.mark.parametrize("kind", ["s3", pytest.param("gs", marks=pytest.mark.slow)])
def test_summaries_are_read_in_buckets(
    kind: str,
    summaries: Path,
    mixed_dir: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cloud: S3 | GCS = request.getfixturevalue("s3" if kind == "s3" else "gcs")
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    bucket = cloud.bucket()
    for path in summaries.rglob("*.*"):
        if path.is_file():
            cloud.put(bucket, f"scored/{path.relative_to(summaries)}", path.read_bytes())
    flags = ["--model", mixed_dir, "--output", tmp_path / "page.html", "--json"]
    code, out, _ = run(capsys, f"{kind}://{bucket}/scored/", *flags)
    assert (code, json.loads(out)["rows"]) == (1, 3000)
    code, out, _ = run(capsys, f"{kind}://{bucket}/scored/00.csv/summary.json", *flags)
    assert (code, json.loads(out)["rows"]) == (0, 150)
    assert run(capsys, f"{kind}://{bucket}/elsewhere/", *flags)[0] == 2


def test_other_models_and_refused_files_are_left_out(
    summaries: Path, mixed_dir: Path, bundle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(summaries, tmp_path / "out")
    (tmp_path / "not.csv").write_text("a,b\n1,2\n")
    assert main(["score", str(tmp_path / "not.csv"), "--model", str(mixed_dir), "--quiet"]) == 1
    shutil.copytree(tmp_path / "scored" / "not.csv", tmp_path / "out" / "not.csv")
    (tmp_path / "sales.csv").write_text("age,new_user,total_pages_visited\n45,0,5\n")
    assert main(["score", str(tmp_path / "sales.csv"), "--model", str(bundle_dir), "--quiet"]) == 0
    shutil.copytree(tmp_path / "scored" / "sales.csv", tmp_path / "out" / "sales.csv")
    capsys.readouterr()
    flags = ["--output", tmp_path / "page.html"]
    _, out, _ = run(capsys, tmp_path / "out", "--model", mixed_dir, *flags)
    assert "left out: " in out
    assert "1 is of files that were not scored" in out
    assert "1 is of another model version" in out
    code, _, err = run(capsys, tmp_path / "out" / "not.csv", "--model", bundle_dir, *flags)
    assert code == 2
    assert err.startswith("error: no summary is left to look at: 1 is of another model version")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no"),
        ("{", "is not a summary"),
        ("[]", "is not a summary"),
        ('{"model": {"version": 1}}', "no summary is left"),
        ("[" * 100_000, "is not a summary"),
    ],
)
def test_what_is_not_a_summary_is_named_in_one_line(
    content: str | None, said: str, mixed_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "summary.json"
    if content is not None:
        path.write_text(content)
    code, _, err = run(capsys, path, "--model", mixed_dir, "--output", tmp_path / "page.html")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("flags", [["--limit", "-1"], ["--limit", "nan"], ["--limit", "much"]])
def test_a_limit_is_a_number(flags: list[str], summaries: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, summaries, *flags)
    assert code == 2
    assert "--limit" in err


def test_a_page_that_cannot_be_written_is_one_line(
    summaries: Path, mixed_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, summaries, "--model", mixed_dir, "--output", tmp_path / "none" / "page.html")
    assert code == 2
    assert "cannot be written" in err
