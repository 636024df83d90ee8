"""Work and memory are linear in what comes in: requests, events, files and manifests; nothing is timed.

An input is pumped: a piece of it stands there n, 2n, 4n and 8n times, and the work is counted. Hypothesis
looks for the piece, and for what stands before and behind it. The regular expressions of the handler, which
no counter sees into, are proven one by one.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import copy
import gzip
import importlib
import io
import json
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import handler
from handler.app import App
from handler.errors import BundleError, FunctionError
from handler.manifest import content_version
from handler.manifest_rules import parsed
from handler.schema import Schema
from handler.scoring import outputs
from handler.scoring.model import Model
from handler.scoring.table import score_block
from handler.settings import Settings
from handler.storage.locations import Location
from handler.tables import compression, formats
from handler.web import openapi
from handler.web.messages import Answer, Request
from tests.support.packing import zstd
from tests.support.regexes import is_linear
from tests.support.work import assert_linear, work_of

pytestmark = pytest.mark.slow

EVENTS = Path(__file__).resolve().parents[1] / "events"
EVENT = {path.stem: json.loads(path.read_text()) for path in EVENTS.glob("*.json")}
#: A record of ``mixed_dir``, and the same as CSV.
RECORD = {
    "living area": 80.5, "no.rooms": 3, "garden": True, "Straße": "Oslo", "heating": "gas", "âge": 30.0,
}  # fmt: skip
HEADER = ",".join(RECORD)
ROW = "80.5,3,yes,Oslo,gas,30.0\n"
#: Times that a piece stands in the shortest input.
TIMES = 60
#: Characters of an answer or message that says what is wrong, and of a log line: one a job.
MOST_SAID = 100_000
MOST_LOGGED = 10_000

SEARCH = settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PIECES = st.sampled_from(
    ["0", "1", "9", ".", "e", "+", "-", " ", "\t", "x", "é", "東", "\r", "\n", "\r\n", ",", ";", "|", '"',
     '""', '",', ',"', '"\n', "'", "\\", "\\u00e9", "/", "//", "/.", "a/", "%", "%41", "+", "&", "=",
     "a=1&", "âge=1&", "?", "[", "]", "{", "{}", "{},", "[{", '{"a":', "null,", "0,", "1e5,", '"a":1,',
     "--b", "\r\n--b", "\r\n--b\r\n", "q=", ";q=0.1", "text/csv,", "; boundary=b", '; a="b"', ';a="',
     "2026-01-02", "1.234,5", "12%", "\x00", "\ufeff", "yes", "Oslo", "predict/", "v2/models/", ROW,
     json.dumps(RECORD) + ","]
) | st.text(min_size=1, max_size=3)  # fmt: skip
ENDS = st.sampled_from(
    ["", "x", '"', "[", "[0", "{", '{"a":1,', "]", "}", "\n", "0", "/", ",", ".", "--b", "=", "\r\n"]
)


SETTINGS = Settings(
    output_uri="s3://example-output/scored", input_uri=("s3://nowhere/", "gs://nowhere/"),
    cors_origins=("https://example.org",), block_bytes=4096,
)  # fmt: skip


@pytest.fixture(scope="module")
def app(mixed_model: Model) -> App:
    return App(mixed_model, SETTINGS)


@pytest.fixture(scope="module")
def sales(model: Model) -> App:
    """The application that ``events/`` are for; it may read no object that they name."""
    return App(model, SETTINGS)


def assert_work_is_linear(handle: Callable[[str], object], before: str, piece: str, behind: str) -> None:
    def work(times: int) -> Any:
        text = before + piece * times + behind
        said, logged = "", io.StringIO()

        def run() -> None:
            nonlocal said
            try:
                reply = handle(text)
            except FunctionError as error:
                said = str(error)
                return
            if isinstance(reply, Answer) and reply.status >= 400:
                said = reply.body.decode()
            elif isinstance(reply, dict) and reply.get("statusCode", 200) >= 400:
                said = reply["body"]

        with contextlib.redirect_stderr(logged):
            done = work_of(run)
        assert len(said) <= MOST_SAID
        assert max(map(len, logged.getvalue().splitlines()), default=0) <= MOST_LOGGED
        return done

    work(1)  # what is imported or remembered
    assert_linear([work(TIMES * times) for times in (1, 2, 4, 8)], repr((before, piece, behind)))


# Requests.

CSV_TYPE = {"content-type": "text/csv"}
JSON_TYPE = {"content-type": "application/json"}
FORM_TYPE = {"content-type": "multipart/form-data; boundary=b"}


def encoded(text: str) -> bytes:
    return text.encode(errors="replace")


def form(text: str, head: str = "") -> bytes:
    return encoded(f'--b\r\nContent-Disposition: form-data; name="file"{head}\r\n\r\n{text}\r\n--b--\r\n')


def with_header(name: str) -> Callable[[str], Request]:
    body = encoded(HEADER + "\n" + ROW)
    return lambda text: Request("POST", "/predict_file", headers={**CSV_TYPE, name: text}, body=body)


REQUESTS: Mapping[str, Callable[[str], Request]] = {
    "method": lambda text: Request(text, "/predict"),
    "path": lambda text: Request("GET", text),
    "path of the document": lambda text: Request("GET", f"{text}/openapi.json", prefix=text),
    **{
        f"{name} in the query": lambda text, name=name: Request("GET", "/predict", ((name, text),))
        for name in (*RECORD, "unknown")
    },
    "a name in the query": lambda text: Request("GET", "/predict", ((text, "1"),)),
    **{
        f"the header {name}": with_header(name)
        for name in ("accept", "content-type", "content-encoding", "origin", "ce-type", "x-request-id")
    },
    "accept-encoding": lambda text: Request("GET", "/swagger-ui.css", headers={"accept-encoding": text}),
    "the boundary": lambda text: Request(
        "POST", "/predict_file", headers={"content-type": f"multipart/form-data; {text}"}, body=form(ROW)
    ),
    "JSON": lambda text: Request("POST", "/predict", headers=JSON_TYPE, body=encoded(text)),
    "a list in JSON": lambda text: Request(
        "POST", "/predict", headers=JSON_TYPE, body=encoded(f"[{text}null]")
    ),
    "a member in JSON": lambda text: Request(
        "POST", "/predict", headers=JSON_TYPE, body=encoded(f"{{{text}")
    ),
    "a number in JSON": lambda text: Request(
        "POST", "/predict", headers=JSON_TYPE, body=encoded(json.dumps(RECORD).replace("30.0", text))
    ),
    "a text in JSON": lambda text: Request(
        "POST", "/predict", headers=JSON_TYPE, body=json.dumps({**RECORD, "Straße": text}).encode()
    ),
    "a name in JSON": lambda text: Request(
        "POST", "/predict", headers=JSON_TYPE, body=json.dumps({**RECORD, text: 1}).encode()
    ),
    "a form": lambda text: Request("POST", "/predict_file", headers=FORM_TYPE, body=encoded(text)),
    "a part's head": lambda text: Request("POST", "/predict_file", headers=FORM_TYPE, body=form(ROW, text)),
    "a part": lambda text: Request(
        "POST", "/predict_file", headers=FORM_TYPE, body=form(f"{HEADER}\n{text}")
    ),
    "gzip": lambda text: Request(
        "POST", "/predict", headers={**CSV_TYPE, "content-encoding": "gzip"},
        body=gzip.compress(encoded(text)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REQUESTS)
@SEARCH
@given(before=ENDS, piece=PIECES, behind=ENDS)
def test_requests(app: App, kind: str, before: str, piece: str, behind: str) -> None:
    assert_work_is_linear(lambda text: app.handle(REQUESTS[kind](text)), before, piece, behind)


@pytest.mark.parametrize("path", ["/predict", "/predict_file"])
@pytest.mark.parametrize(
    ("head", "behind"),
    [
        ("", ""),
        ("", f"\n{ROW}"),
        (f"{HEADER},", f"\n{ROW}"),
        (f'{HEADER},"', f'"\n{ROW}'),
        (f"{HEADER}\n", ""),
        (f'{HEADER}\n80.5,3,yes,"', f'",gas,30\n{ROW}'),
        (f"{HEADER}\n", ",3,yes,Oslo,gas,30\n"),
        (HEADER.replace(",", ";") + "\n", "\n"),
    ],
)
@SEARCH
@given(before=ENDS, piece=PIECES, joined=st.booleans())
def test_csv_in_requests(
    app: App, path: str, head: str, behind: str, before: str, piece: str, joined: bool
) -> None:
    headers = {**CSV_TYPE, **({"accept": "text/csv"} if joined else {})}

    def handle(text: str) -> object:
        return app.handle(Request("POST", path, headers=headers, body=encoded(text)))

    assert_work_is_linear(handle, head + before, piece, behind)


# Events.


def texts_in(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every text, at any depth."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        if isinstance(value, str):
            yield (*path, key)
        elif isinstance(value, dict | list):
            yield from texts_in(value, (*path, key))


def with_text(document: Any, path: Sequence[Any], text: str) -> Any:
    changed = holder = copy.deepcopy(document)
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = text
    return changed


@pytest.mark.parametrize("name", sorted(set(EVENT) - {"direct", "direct-batch", "direct-instances"}))
@SEARCH
@given(data=st.data(), before=ENDS, piece=PIECES, behind=ENDS)
def test_events(sales: App, name: str, data: st.DataObject, before: str, piece: str, behind: str) -> None:
    path = data.draw(st.sampled_from(list(texts_in(EVENT[name]))))

    def handle(text: str) -> object:
        event = with_text(EVENT[name], path, text)
        if set(event) <= {"path", "headers", "body"}:  # one of Google's, as a request
            body = json.dumps(event["body"]).encode()
            return sales.handle(Request("POST", event["path"], (), event["headers"], body))
        return sales.handle(event)

    assert_work_is_linear(handle, before, piece, behind)


REMOVED = {"eventSource": "aws:s3", "eventName": "ObjectRemoved:Delete"}
PACKED = gzip.compress(encoded(ROW))
UNNAMED = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
           "s3": {"bucket": {"name": "b"}, "object": {"key": "a//b.csv"}}}  # fmt: skip


def queued(body: object, place: int) -> dict[str, object]:
    return {"eventSource": "aws:sqs", "messageId": str(place), "body": json.dumps(body)}


@pytest.mark.parametrize(
    "event",
    [
        lambda n: Request("GET", "/predict", tuple((f"key {place}", "1") for place in range(n))),
        lambda n: Request("GET", "/predict", (("âge", "1"),) * n),
        lambda n: Request("POST", "/predict", body=json.dumps({f"key {i}": 1 for i in range(n)}).encode()),
        lambda n: Request("POST", "/predict", body=json.dumps([{}] * n).encode()),
        lambda n: Request("POST", "/predict", (), {**CSV_TYPE, "content-encoding": "gzip"}, PACKED * n),
        lambda n: {"Records": [REMOVED] * n},
        lambda n: {"Records": [UNNAMED] * n},
        lambda n: {"Records": [queued({"Records": [REMOVED]}, place) for place in range(n)]},
        lambda n: {"Records": [queued({"Records": [UNNAMED]}, place) for place in range(n)]},
        lambda n: {"Records": [queued({"Records": [REMOVED] * n}, 0)]},
        lambda n: {"Records": [queued({"a": place}, place) for place in range(n)]},
        lambda n: {"Records": [REMOVED] * n + [{}]},
        lambda n: {f"key {place}": place for place in range(n)},
        lambda n: {**EVENT["s3-batch-1"], "tasks": EVENT["s3-batch-1"]["tasks"] * n},
        lambda n: {**EVENT["s3-batch-2"], "job": {"userArguments": {f"key {i}": "1" for i in range(n)}}},
        lambda n: {"Items": [{"input": "s3://example-input/a.csv"}] * n},
        lambda n: {"Items": [{}], "BatchInput": {f"key {place}": place for place in range(n)}},
        lambda n: {"instances": [RECORD] * n},
        lambda n: {"instances": [{}] * n},
        lambda n: {"instances": [], **{f"key {place}": place for place in range(n)}},
        lambda n: {**EVENT["alb"], "queryStringParameters": {f"key {place}": "1" for place in range(n)}},
        lambda n: {**EVENT["alb-multi-value"], "multiValueQueryStringParameters": {"âge": ["1"] * n}},
        lambda n: {**EVENT["apigateway-v1"], "headers": {f"key {place}": "1" for place in range(n)}},
        lambda n: {**EVENT["apigateway-v2"], "isBase64Encoded": True,
                   "body": base64.b64encode(b"[" * n).decode()},
    ],
)  # fmt: skip
def test_events_of_many_members(app: App, event: Callable[[int], Any]) -> None:
    assert_work_is_linear(lambda text: app.handle(event(len(text))), "", "x", "")


@pytest.mark.parametrize(
    ("event", "request_id"),
    [
        (Request("x" * 99_999, "/" + "x" * 99_999), "1"),
        (Request("GET", "/healthz"), "x" * 99_999),
        (copy.deepcopy(EVENT["s3-put"]), "1"),
        ({"x" * 99_999: 1}, "1"),
    ],
)
def test_a_log_line_is_short_whatever_is_in_the_event(sales: App, event: Any, request_id: str) -> None:
    if isinstance(event, dict) and "Records" in event:
        event["Records"][0]["s3"]["object"]["key"] = "x" * 99_999 + "/"
    with contextlib.redirect_stderr(io.StringIO()) as logged, contextlib.suppress(FunctionError):
        sales.handle(event, request_id)
    assert max(map(len, logged.getvalue().splitlines()), default=0) <= MOST_LOGGED


# Files.


def score(model: Model, content: bytes) -> int:
    """Score a file as a run does, block by block; returns its rows."""
    table = formats.opened(compression.inflated(iter([content])), model.schema, 4096)
    total = 0
    for block in table.blocks:
        rows, scores = score_block(model, block, table)
        table.format.write(rows, table.layout, outputs.columns(model.manifest, scores))
        total += rows.total
    return total


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
@SEARCH
@given(
    head=st.sampled_from(["", f"{HEADER}\n", f'{HEADER}\n80,3,yes,"']),
    piece=PIECES,
    before=ENDS,
    behind=ENDS,
)
def test_files(
    mixed_model: Model, pack: Callable[[bytes], bytes], head: str, before: str, piece: str, behind: str
) -> None:
    def handle(text: str) -> object:
        return score(mixed_model, pack(encoded(text)))

    assert_work_is_linear(handle, head + before, piece, behind)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("row", ["", ROW])
def test_files_of_many_members(mixed_model: Model, pack: Callable[[bytes], bytes], row: str) -> None:
    first, member = pack(f"{HEADER}\n".encode()), pack(row.encode())
    assert_work_is_linear(lambda text: score(mixed_model, first + member * len(text)), "", "x", "")


@pytest.mark.parametrize("row", [ROW, "x\n", ",,,,,\n", '80.5,3,yes,"Os""lo",gas,30.0\n', "\n", '"\n"\n'])
@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_files_that_come_in_pieces(mixed_model: Model, row: str, size: int) -> None:
    def handle(text: str) -> object:
        pieces = (encoded(text[at : at + size]) for at in range(0, len(text), size))
        return sum(1 for _ in formats.opened(pieces, mixed_model.schema, 4096).blocks)

    assert_work_is_linear(handle, f"{HEADER}\n", row, "")


@SEARCH
@given(before=ENDS, piece=PIECES, behind=ENDS)
def test_locations(before: str, piece: str, behind: str) -> None:
    assert_work_is_linear(lambda text: Location.parse(f"s3://b/{text}").is_nameable, before, piece, behind)


# Manifests.

Change = Callable[[dict[str, Any], int], object]


def many_classes(document: dict[str, Any], n: int) -> None:
    names = [f"class {place}" for place in range(n)]
    document["classes"] = names
    document["golden"] = [{"record": {}, "prediction": name} for name in names]


MANIFESTS: Mapping[str, Change] = {
    "features": lambda document, n: document["features"].extend(
        {"name": f"feature {place}", "kind": "number", "nullable": True, "minimum": 0, "maximum": 1}
        for place in range(n)
    ),
    "the same feature": lambda document, n: document["features"].extend([document["features"][0]] * n),
    "categories": lambda document, n: document["features"].append(
        {"name": "c", "kind": "category", "nullable": True, "open": False,
         "categories": [f"category {place}" for place in range(n)]}
    ),
    "classes": many_classes,
    "golden rows": lambda document, n: document.update(golden=document["golden"][:1] * n),
    "ids": lambda document, n: document.update(ids=[f"id {place}" for place in range(n)]),
    "files": lambda document, n: document["files"].update((f"file {each}", "0" * 64) for each in range(n)),
    "libraries": lambda document, n: document["libraries"].update((f"at {each}", "1") for each in range(n)),
    "metrics": lambda document, n: document["metrics"].update((f"at {each}", [each]) for each in range(n)),
    "unknown keys": lambda document, n: document.update((f"key {place}", place) for place in range(n)),
    "a name": lambda document, n: document.update(name="x" * n),
    "a version": lambda document, n: document.update(version="x" * n),
    "depth": lambda document, n: document["metrics"].update(deep=json.loads("[" * n + "]" * n)),
    "digits": lambda document, n: document["parity"].update(tolerance=10 ** (n // 4)),
}  # fmt: skip


@pytest.mark.parametrize("kind", MANIFESTS)
@pytest.mark.parametrize("sealed", [True, False])
def test_manifests(mixed_model: Model, kind: str, sealed: bool) -> None:
    texts: dict[int, str] = {}
    for times in (1, *(TIMES * each for each in (1, 2, 4, 8))):
        document = json.loads(json.dumps(mixed_model.manifest.as_json()))
        with contextlib.suppress(RecursionError):
            MANIFESTS[kind](document, times)
        if sealed and kind != "a version":
            document["version"] = content_version(document)
        texts[times] = json.dumps(document)

    def load(text: str) -> None:
        try:
            manifest = parsed(json.loads(texts[len(text)]))
        except RecursionError as error:  # as ``Bundle.open`` does
            raise BundleError("it nests too deeply") from error
        openapi.document(manifest, "/")
        Schema.of(manifest)

    assert_work_is_linear(load, "", "x", "")


# Regular expressions.


def patterns() -> Iterable[tuple[str, str, int, bool]]:
    """Each expression of the handler: where it stands, itself, its flags, whether it is matched whole."""
    for info in pkgutil.walk_packages(handler.__path__, "handler."):
        if info.name in ("handler.__main__", "handler.kernel.libkernel"):
            continue  # the latter is no module, but what the kernel is compiled to
        module = importlib.import_module(info.name)
        text = Path(module.__file__ or "").read_text()
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=how), args=[pattern, *_]):
                    if how not in ("compile", "escape"):  # the latter takes a text, and is linear
                        where = f"{info.name}:{node.lineno}"
                        found = eval(compile(ast.Expression(pattern), where, "eval"), vars(module))
                        yield where, found, 0, how == "fullmatch"
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                uses = set(re.findall(rf"\b{name}\.(\w+)\(", text))
                yield f"{info.name}:{name}", value.pattern, value.flags, uses == {"fullmatch"}


def test_every_regular_expression_of_the_handler_takes_linear_time() -> None:
    found = list(patterns())
    assert len(found) >= 5
    for where, pattern, flags, whole in found:
        assert is_linear(pattern, flags, whole), where


@pytest.mark.parametrize(
    ("pattern", "whole"),
    [
        (r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)", True), (r"[0-9]*\.?[0-9]+", True), (r"(a*)*b", True),
        (r"(a|a)*b", True), (r"(?:a+)+$", True), (r"\s*x", False), (r"[^,]*,", False), (r".*x", False),
        (r"(?:[a-z]+[0-9]*)+!", True),
    ],
)  # fmt: skip
def test_the_proof_refuses_expressions_that_are_slow(pattern: str, whole: bool) -> None:
    assert not is_linear(pattern, whole=whole)


@pytest.mark.parametrize(
    "slow",
    [
        lambda n: [None for a in range(n) for b in range(n)],
        lambda n: [b"x" * 100 * each for each in range(n)][:0],
        lambda n: [None] * 10 * n**2,
    ],
)
def test_the_count_sees_quadratic_work(slow: Callable[[int], object]) -> None:
    with pytest.raises(AssertionError, match="faster than the input"):
        assert_linear([work_of(lambda: slow(40 * times)) for times in (1, 2, 4, 8)])  # noqa: B023
