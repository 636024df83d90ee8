"""The documentation is tested: what it shows comes out, and what it names is there.

A ```console block is a terminal: lines that start with ``$ `` are typed, what follows is what they print.
All of a page's blocks are one session, run from top to bottom against the served synthetic model, with
``docs``, ``events`` and the code in the working directory, an S3 server behind the environment, and ``aws``
as a stand-in. A line of ``...`` stands for any lines. A ```python block whose first line is ``# name.py``
is that file. Any other block, such as ```sh, is read and not run.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

import handler.__main__ as cli
from handler import __version__
from handler.app import App
from handler.manifest import LEFT_OUT, Manifest
from handler.scoring.model import Model
from handler.settings import Settings
from handler.tables import records
from handler.web.messages import Request
from tests.support.cloud import s3_server
from tests.support.once import once
from tests.support.serving import serve
from training.__main__ import _package_parser as package_parser
from training.__main__ import _parser as training_parser
from training.train import Options, train

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = (
    README,
    *(ROOT / f"{name}.md" for name in ("ARCHITECTURE", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
#: Where the reader's checkout is, in what the pages show.
HOME = "/home/you/sklearn-function"
BUCKETS = ("example-input", "example-output")

#: What ``aws`` does in the examples, by obstore, which is quick to start, and says as the real one does.
AWS = """
import pathlib, sys
import obstore
from obstore.store import S3Store

words = [word for word in sys.argv[1:] if word not in ("--quiet", "--recursive")]
def place(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return S3Store(bucket), key
match words:
    case ["s3", "cp", source, "-"]:
        sys.stdout.write(bytes(obstore.get(*place(source)).bytes()).decode())
    case ["s3", "cp", source, target]:
        obstore.put(*place(target), pathlib.Path(source))
    case ["s3", "ls", uri]:
        for each in obstore.list(*place(uri)).collect():
            print(f"{each['last_modified']:%Y-%m-%d %H:%M:%S} {each['size']:>10} {each['path']}")
    case _:
        sys.exit(f"this stand-in does not know: aws {' '.join(words)}")
"""


@dataclass(frozen=True)
class Step:
    """A typed line and what the page shows that it prints."""

    page: str
    line: int
    command: str
    shown: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def fenced(text: str) -> Iterator[tuple[str, int, str]]:
    """Every fenced block: its language, the number of its first line, and its text."""
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        yield found[1], text.count("\n", 0, found.start(2)) + 1, found[2]


def steps(page: str) -> list[Step]:
    """What is typed on a page; a command goes on after a backslash at the end of its line."""
    found = []
    for language, first, text in fenced(TEXTS[page]):
        if language == "console":
            assert text.startswith("$ "), f"{page}:{first} must start with what is typed"
            for each in re.finditer(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", text, re.M):
                line = first + text.count("\n", 0, each.start())
                found.append(Step(page, line, each[1], each[2]))
    return found


STEPS = [step for page in TEXTS for step in steps(page)]


@pytest.fixture(scope="session")
def sample_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle that ``make serve`` trains."""
    made = once(
        tmp_path_factory, "sample", lambda folder: train(Options(out=folder / "model"), lambda _: None)
    )
    return made / "model"


@pytest.fixture(scope="session")
def printed(sample_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What each step printed, by its page and line: its standard output, or its standard error where
    that is empty. The lines are typed once, whichever process asks."""

    def type_all(folder: Path) -> None:
        told: dict[str, str] = {}
        with serve(sample_dir) as base, s3_server() as cloud:
            for name in BUCKETS:
                cloud.client("s3").create_bucket(Bucket=name)
            for number, page in enumerate(TEXTS):
                here = folder / f"reader{number}"
                here.mkdir()
                for step, text in _session(page, here, base, {**cloud.env, "MODEL_DIR": str(sample_dir)}):
                    told[str(step)] = text
        (folder / "printed.json").write_text(json.dumps(told))

    folder = once(tmp_path_factory, "readme", type_all)
    printed: dict[str, str] = json.loads((folder / "printed.json").read_text())
    return printed


def _session(page: str, here: Path, base: str, env: Mapping[str, str]) -> Iterator[tuple[Step, str]]:
    """Type a page's lines into one shell in ``here``."""
    for name in ("handler", "training", "docs", "events"):
        (here / name).symlink_to(ROOT / name)
    for language, _, text in fenced(TEXTS[page]):
        if language == "python" and (named := re.match(r"# (\w+\.py)\n", text)):
            (here / named[1]).write_text(text, encoding="utf-8")
    tools = here / ".tools"
    tools.mkdir()
    (tools / "aws.py").write_text(AWS, encoding="utf-8")
    for tool, start in (("python", ""), ("aws", f" {tools / 'aws.py'}")):
        (tools / tool).write_text(f'#!/bin/sh\nexec "{sys.executable}"{start} "$@"\n', encoding="utf-8")
        (tools / tool).chmod(0o755)
    typed = steps(page)
    lines = []
    for place, step in enumerate(typed):
        command = step.command.replace("localhost:8080", base.removeprefix("http://"))
        lines.append(f"{{ {command}\n}} >{tools}/{place}.out 2>{tools}/{place}.err </dev/null")
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    subprocess.run(
        ["sh"],
        input="\n".join(lines),
        text=True,
        cwd=here,
        env={**os.environ, **env, "PATH": path},
        check=False,
    )
    for place, step in enumerate(typed):
        told = [(tools / f"{place}.{stream}").read_text(encoding="utf-8") for stream in ("out", "err")]
        yield step, (told[0] or told[1]).replace(str(here), HOME)


#: What differs from run to run or from machine to machine, as (pattern, stand-in).
VARIES = (
    (r"\b[0-9a-f]{12}\b", "VERSION"),
    (r"\b\d+\.\d s\b", "TIME s"),
    (r"largest difference \S+", "largest difference TINY"),
    (r"(?m)^[\d-]{10} [\d:]{8} +\d+ ", "DATE TIME SIZE "),  # aws s3 ls; seconds take more digits or fewer
)
#: The same in JSON, by the member's name.
VARYING_MEMBERS = {"version", "created", "etag", "run", "seconds", "predictions.csv", "rejected.csv"}


def comparable(text: str) -> Any:
    """A text, or the JSON document that it is, without what varies; numbers to six decimals."""
    try:
        return _plain(json.loads(text))
    except ValueError:
        for pattern, stand_in in VARIES:
            text = re.sub(pattern, stand_in, text)
        return re.sub(r"\d+\.\d{7,}", lambda number: f"{float(number[0]):.6f}", text).rstrip("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: None if name in VARYING_MEMBERS else _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return round(value, 6) if isinstance(value, float) else value


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_what_is_shown_is_what_is_printed(step: Step, printed: Mapping[str, str]) -> None:
    if step.command.startswith("curl ") and shutil.which("curl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("curl is missing: apt-get install curl")
        pytest.skip("curl is missing")
    shown, told = comparable(step.shown), comparable(printed[str(step)])
    if isinstance(shown, str) and isinstance(told, str) and re.search(r"^\.\.\.$", shown, re.M):
        parts = [re.escape(part) for part in re.split(r"^\.\.\.$\n?", shown, flags=re.M)]
        assert re.fullmatch(r"(?:.*\n)*?".join(parts), told), told
    else:
        assert told == shown


@pytest.mark.parametrize("page", TEXTS)
def test_what_is_typed_stands_in_blocks_that_are_run(page: str) -> None:
    for language, line, text in fenced(TEXTS[page]):
        assert language, f"{page}:{line} needs a language"
        assert language == "console" or not re.search(r"^\$ ", text, re.M), f"{page}:{line} is not run"


def test_the_readme_shows_what_it_is_for_and_the_page_of_requests_the_rest() -> None:
    def typed(page: str) -> str:
        return " ".join(step.command for step in STEPS if step.page == page)

    for each in ("/predict?", "/predict_file", "accept: text/csv", "handler score"):
        assert each in typed("README.md")
    for each in ("/predict?", "-d '{", "-d '[", "/predict_file"):
        assert each in typed("docs/requests.md")
    assert "make serve" in TEXTS["README.md"]
    assert "make test" in TEXTS["README.md"]


def code_in(text: str) -> str:
    """All that a page writes as code: blocks and spans."""
    blocks = [block for _, _, block in fenced(text)]
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return "\n".join([*blocks, *re.findall(r"`([^`]+)`", rest)])


CODE = "\n".join(code_in(text) for text in TEXTS.values())


def test_make_targets_and_variables_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+): *##", makefile, re.M))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", CODE)) == targets - {"help"}  # which is `make` alone
    lines = [line.partition(" #")[0] for line in re.findall(r"\bmake [a-z].*", CODE)]
    variables = set(re.findall(r"(?<= )([A-Z_]+)=", " ".join(lines)))
    taken = set(re.findall(r"call option,([A-Z_]+)|[(]origin ([A-Z_]+)|\$[({]([A-Z_]+)[):]", makefile))
    known = {name for names in taken for name in names if name} | {"PYTHON"}  # requirements/install.sh
    assert variables
    assert variables <= known
    options = set(re.findall(r"call option,([A-Z_]+)", makefile))
    assert options | {"MODEL", "T", "EVENT", "PARTS", "EXACT"} <= set(re.findall(r"\b([A-Z_]+)=", CODE))


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings if option[:2] == "--"}


def flags_in(text: str) -> set[str]:
    return set(re.findall(r"(?<=[\s\[`])--[a-z][a-z-]+", text))


def test_commands_and_flags_of_the_handler_are_documented() -> None:
    parser = cli._parser("sklearn-function", {"train": "train", "package": "package"})
    (commands,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    assert set(re.findall(r"python -m handler (\w+)", CODE)) == set(commands.choices) - {"train", "package"}
    assert set(re.findall(r"sklearn-function (\w+)", CODE)) <= set(commands.choices)
    options = options_of(parser).union(*map(options_of, commands.choices.values()))
    lines = " ".join(re.findall(r"python -m handler .*", CODE))
    assert flags_in(lines) <= options
    assert options - {"--help"} <= flags_in("\n".join(f"`{line}" for line in CODE.splitlines()))


def test_flags_of_training_are_documented() -> None:
    for parser, lines in (
        (training_parser("python -m training"), r"python -m training(?! package).*"),
        (package_parser("python -m training package"), r"python -m training package.*"),
    ):
        options = options_of(parser)
        documented = flags_in(" ".join(re.findall(lines, CODE)))
        assert documented <= options
        assert (
            options - {"--help", "--model", "--version", "--json", "--quiet"} <= documented
        )  # the handler has these as well


def test_exit_codes_are_documented() -> None:
    """Those that the command lines return, and those of a process that a signal ends."""
    lines = [ROOT / file for file in ("handler/__main__.py", "training/__main__.py", "handler/terminal.py")]
    returned = {
        part.value
        for file in (*lines, *(ROOT / "handler/commands").glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Return) and node.value
        for part in (node.value, *ast.iter_child_nodes(node.value))
        if isinstance(part, ast.Constant) and isinstance(part.value, int)
    }
    signals = {128 + signal.SIGINT, 128 + signal.SIGTERM}
    assert {int(code) for code in named_in(table("Exit codes"))} == returned | signals


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", TEXTS[page], flags=re.M | re.S)
    targets = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'(?:src|href)="([^"]+)"', text)]
    for target in targets:
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        linked = (ROOT / page).parent / unquote(file) if file else ROOT / page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.M)
            assert anchor in {_anchor(heading) for heading in headings}, target


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_files_that_are_named_exist() -> None:
    named = re.findall(r"\b(?:docs|events|handler|training|tests|requirements)/[\w./-]*\w\b(?!\*)", CODE)
    assert named
    assert {name for name in named if not (ROOT / name).exists()} <= {"handler/model"}


def table(heading: str) -> list[list[str]]:
    """The cells of the rows of the first table under a heading, on whichever page."""
    (section,) = (
        found[1]
        for text in TEXTS.values()
        for found in re.finditer(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.M | re.S)
    )
    rows: list[list[str]] = []
    for line in section.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif rows:
            break
    return rows[2:]


def named_in(cells: list[list[str]]) -> list[str]:
    """What the first column names, in order."""
    return [name for row in cells for name in re.findall(r"`([^`]+)`", row[0])]


class Asked(dict[str, str]):
    """An environment that holds nothing and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return False

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return default


def test_the_table_of_settings_is_what_the_code_reads() -> None:
    environ = Asked()
    Settings.from_env(environ)
    told = named_in(table("Settings"))
    assert sorted(told) == sorted(set(told))
    assert set(told) == environ.names


def test_defaults_of_settings_are_as_told() -> None:
    defaults = {row[0].strip("`"): row[1] for row in table("Settings")}
    assert defaults["LOG_LEVEL"] == f"`{Settings().log_level}`"
    on_lambda = Settings.from_env({"AWS_LAMBDA_FUNCTION_NAME": "f"})
    elsewhere = Settings.from_env({"K_SERVICE": "s"})
    limits = [str(each.max_body_bytes >> 20) for each in (on_lambda, elsewhere)]
    assert re.findall(r"(\d+) MiB", defaults["MAX_BODY_BYTES"]) == limits
    sizes = [records.BLOCK_BYTES, records.FOR_EACH_COLUMN, records.MOST_BLOCK_BYTES]
    assert [
        int(each.replace(",", "")) << 10 for each in re.findall(r"([\d,]+) KiB", defaults["BLOCK_BYTES"])
    ] == sizes


def codes() -> set[str]:
    """Every code that the handler gives, from its source."""
    found: set[str] = set()
    place = {"InvalidValue": 0, "InvalidCsv": 0, "Problem": 1, "problems.add": 1}
    for file in (ROOT / "handler").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in place:
                given: list[ast.expr] = node.args[place[ast.unparse(node.func)] :][:1]
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in (
                "code",
                "NOT_PREDICTABLE",
            ):
                given = [node.value]
            else:
                continue
            parts = [part for each in given for part in ast.walk(each) if not isinstance(part, ast.Compare)]
            if isinstance(given[0], ast.IfExp):
                parts = [given[0].body, given[0].orelse]
            found |= {
                part.value
                for part in parts
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            }
    return found


def test_the_table_of_codes_is_what_the_code_gives() -> None:
    told = named_in(table("Codes"))
    assert sorted(told) == sorted(set(told))
    assert set(told) == codes()


@pytest.mark.slow
def test_the_table_of_the_manifest_is_what_training_writes(sample_dir: Path) -> None:
    manifest = json.loads((sample_dir / "model.json").read_text(encoding="utf-8"))
    told = named_in(table("The manifest"))
    assert [name for name in told if name in manifest or name not in LEFT_OUT] == [*manifest]
    assert set(told) == set(Manifest._fields)


def test_the_code_map_names_every_module() -> None:
    named = set(named_in(table("Code map")))
    modules = {
        file.relative_to(ROOT).as_posix()
        for package in ("handler", "training")
        for file in (ROOT / package).rglob("*.py")
        if file.stem != "__init__"
    }
    assert named == modules


def test_every_event_has_its_row() -> None:
    events = sorted(file.name for file in (ROOT / "events").glob("*.json"))
    text = (ROOT / "events" / "README.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`([\w-]+\.json)`", row)) == events
    uploads = text.partition("## Uploads")[2]
    documented = set(re.findall(r"events/([\w-]+\.json)", TEXTS["docs/batch.md"]))
    assert documented == {*re.findall(r"`([\w-]+\.json)`", uploads), "direct-batch.json"}


def test_the_table_of_routes_is_what_the_application_answers(model: Model) -> None:
    """A path that there is not lists the routes, and each lists its methods."""
    app = App(model, Settings())
    nowhere = app.handle(Request("GET", "/nowhere"))
    public = re.findall(r"/[\w.]*", json.loads(nowhere.body)["detail"])
    answered = set()
    for path in public:
        allowed = app.handle(Request("OPTIONS", path)).headers["allow"].split(", ")
        answered |= {f"{method} {path}" for method in allowed if method not in ("HEAD", "OPTIONS")}
    assert answered == set(named_in(table("Routes")))
    assert set(re.findall(r"\b(?:GET|POST|PUT|DELETE) /[a-z_.]+", CODE)) <= answered


def test_what_the_deployments_set_is_read() -> None:
    environ = Asked()
    Settings.from_env(environ)
    template = yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), Loader=Plain)
    blocks = [
        template["Globals"]["Function"],
        *(each["Properties"] for each in template["Resources"].values()),
    ]
    given = {name for each in blocks for name in each.get("Environment", {}).get("Variables", {})}
    service = yaml.load((ROOT / "service.yaml").read_text(encoding="utf-8"), Loader=Plain)
    (container,) = service["spec"]["template"]["spec"]["containers"]
    given |= {each["name"] for each in container["env"]}
    job = yaml.load((ROOT / "job.yaml").read_text(encoding="utf-8"), Loader=Plain)
    (container,) = job["spec"]["template"]["spec"]["template"]["spec"]["containers"]
    given |= {each["name"] for each in container["env"]}
    assert given >= {"INPUT_URI", "OUTPUT_URI"}
    assert given <= environ.names


class Plain(yaml.SafeLoader):
    """YAML in which CloudFormation's own tags, such as ``!Sub``, are left alone."""


Plain.add_multi_constructor("!", lambda *_: None)


def test_the_changelog_has_the_version_and_links_to_what_each_one_changed() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", text, re.M)
    assert __version__ == releases[0]
    links = dict(re.findall(r"^\[([\w.]+)\]: \.\./\.\./(\S+)$", text, re.M))
    changed = {new: f"compare/v{old}...v{new}" for new, old in itertools.pairwise(releases)}
    ends = {"Unreleased": f"compare/v{releases[0]}...HEAD", releases[-1]: f"releases/tag/v{releases[-1]}"}
    assert links == {**changed, **ends}
