"""What training shows while it works: on a terminal, in a log, and to a function."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from tests.support.terminal import COLUMNS, on_terminal
from training.report.progress import Progress, step

#: Two steps that last, the first without a length and the second with one, and a note within the second.
LASTING = """
import sys, time
from training.report.progress import Progress, step
progress = Progress(sys.stdout)
progress.expect(2)
with step(progress, "waiting"):
    time.sleep(2.5)
with step(progress, "counting " + "very " * 40 + "long") as tick:
    for done in range(30):
        tick(done, 30)
        time.sleep(0.1)
        if done == 10:
            progress("note: ten are done\\nand more")
"""


def timeless(text: str) -> str:
    return re.sub(r"\d+(\.\d)? s\b", "N s", text)


def test_a_function_gets_texts_and_finished_steps() -> None:
    said: list[str] = []
    with step(said.append, "fitting a model") as tick:
        tick(1, 2)
        said.append("note: from within")
    assert [timeless(each) for each in said] == ["note: from within", "fitting a model: N s"]


def test_a_log_has_plain_lines_and_numbers() -> None:
    log = io.StringIO()
    progress = Progress(log)
    progress.expect(2)
    with step(progress, "reading") as tick:
        tick(1, 2)
    progress("note: a\nb")
    with step(progress, "fitting"):
        progress("note: c")
    assert timeless(log.getvalue()) == (
        "1/2 reading: N s\nnote: a\nb\n2/2 fitting\nnote: c\n2/2 fitting: N s\n"
    )
    assert [timeless(each) for each in progress.transcript] == [
        "1/2 reading: N s",
        "note: a\nb",
        "note: c",
        "2/2 fitting: N s",
    ]


def test_a_step_that_fails_ends_its_line_and_is_not_finished() -> None:
    log = io.StringIO()
    progress = Progress(log)
    with pytest.raises(KeyError), step(progress, "fitting"):
        raise KeyError
    assert log.getvalue() == "fitting\n"
    assert progress.transcript == []


def test_nothing_is_shown_without_a_stream_and_the_transcript_is_kept() -> None:
    progress = Progress()
    with step(progress, "fitting"):
        progress("note")
    assert [timeless(each) for each in progress.transcript] == ["note", "fitting: N s"]


@pytest.mark.slow
@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}])
def test_on_a_terminal_a_step_is_drawn_in_place(tmp_path: Path, env: dict[str, str]) -> None:
    code, drawn = on_terminal(["-c", LASTING], tmp_path, **env)
    assert code == 0
    assert "1/2 waiting ... 2 s" in drawn
    bars = re.findall(r"\[(#*) *\] (\d+)%, \d+ s", drawn)
    assert bars
    assert all(len(bar) == round(int(percent) / 100 * 24) for bar, percent in bars)
    assert ("\x1b[33mnote: ten are done\x1b[0m\nand more\n" in drawn) == (not env)
    # What stays: each line from where it was drawn last.
    kept = [line.rpartition("\x1b[K")[2] for line in timeless(drawn).split("\n")]
    assert [each[:11] for each in kept if each and "note" not in each] == [
        "1/2 waiting",
        "and more",
        "2/2 countin",
    ]
    assert all(len(each) <= COLUMNS for each in drawn.split("\x1b[K") if "%" in each)


def test_a_terminal_that_cannot_draw_over_is_a_log(tmp_path: Path) -> None:
    code, drawn = on_terminal(
        ["-c", LASTING.replace("time.sleep", "len([]) or float")], tmp_path, TERM="dumb"
    )
    assert code == 0
    assert "\x1b" not in drawn
