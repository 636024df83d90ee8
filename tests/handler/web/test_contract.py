"""schemathesis against the served application: what OpenAPI promises is what the routes do.

It is run by its command line, since its pytest plugin lags behind pytest. It calls every operation
with sound and unsound requests, and checks each answer's status, content type, headers and body
against the document, that unsound requests are refused and that sound ones are not.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.serving import ROOT, serve

pytestmark = pytest.mark.slow

#: Requests a route, and where they start from: a commit must not fail by another commit's luck.
EXAMPLES, SEED = 60, 555
PROBLEM = "application/problem+json"


@pytest.mark.parametrize("bundle", ["mixed_dir", "regression_dir"])
def test_routes_keep_their_contract(bundle: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(bundle)
    with serve(folder) as base:
        check(base, folder, tmp_path)


def test_routes_keep_their_contract_under_a_prefix(server: str, bundle_dir: Path, tmp_path: Path) -> None:
    check(f"{server}/prod", bundle_dir, tmp_path)


def check(base: str, model_dir: Path, folder: Path) -> None:
    """Run schemathesis against the routes under ``base``; fails with its report."""
    options = {
        "--max-examples": EXAMPLES,
        "--seed": SEED,
        "--report": "json",
        "--report-json-path": folder / "report.json",
    }
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{base}/openapi.json", "--no-color"]
    ran = subprocess.run(
        [*command, *(str(word) for option in options.items() for word in option)],
        cwd=folder,
        env={
            **os.environ,
            "MODEL_DIR": str(model_dir),
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.support.contract_hooks",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads((folder / "report.json").read_text())
    tried = {name for name, phases in report["valid_rates"].items() if phases["fuzzing"]["accepted"]}
    assert tried >= {"GET /predict", "POST /predict", "POST /predict_file", "GET /model", "GET /healthz"}
    assert report["test_cases"]["generated"] > 3 * EXAMPLES
    assert not report["failures"]
    assert not report["errors"]


@pytest.fixture(scope="session")
def document(server: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server}/openapi.json") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@pytest.mark.parametrize("path", ["/predict", "/predict_file"])
def test_every_example_of_a_body_is_answered(server: str, document: dict[str, Any], path: str) -> None:
    sent = 0
    for content_type, content in document["paths"][path]["post"]["requestBody"]["content"].items():
        examples = [each["value"] for each in content.get("examples", {}).values()]
        examples += [content["example"]] if "example" in content else []
        for example in examples:
            body = example if isinstance(example, str) else json.dumps(example)
            status, _, _ = post(server + path, body.encode(), content_type)
            assert status == 200
            sent += 1
    assert sent


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    path=st.sampled_from(["/predict", "/predict_file"]),
    content_type=st.sampled_from(
        ["text/csv", "application/json", "multipart/form-data; boundary=x", "multipart/form-data", "a/b"]
    ),
    body=st.binary(max_size=200)
    | st.text('{}[]",:\\u0d8a1e\n\r;\t', max_size=60).map(str.encode)
    | st.text("age,new_user,total_pages_visited\n\r\"1'", max_size=60).map(str.encode),
)
def test_bodies_that_are_no_such_thing_get_a_documented_answer(
    server: str, document: dict[str, Any], path: str, content_type: str, body: bytes
) -> None:
    status, answered, content = post(server + path, body, content_type)
    assert str(status) in document["paths"][path]["post"]["responses"]
    assert status < 500
    if status != 200:
        assert answered == PROBLEM
        schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
        jsonschema.validate(json.loads(content), schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("change", [{"\ud800": 1}, {"Straße": "\ud800"}], ids=["name", "value"])
def test_half_a_surrogate_pair_is_refused(mixed_dir: Path, change: dict[str, Any]) -> None:
    golden = json.loads((mixed_dir / "model.json").read_bytes())["golden"][0]["record"]
    with serve(mixed_dir) as base:
        body = json.dumps({**golden, **change}).encode()
        status, answered, _ = post(f"{base}/predict", body, "application/json")
    assert status in (400, 422)
    assert answered == PROBLEM


def test_the_joined_csv_keeps_a_line_end_inside_a_cell(server: str) -> None:
    sent = [["age", "note", "new_user", "total_pages_visited"], ["45", "a\nb\r\nc", "0", "5"]]
    sink = io.StringIO()
    csv.writer(sink).writerows(sent)
    _, _, content = post(f"{server}/predict_file", sink.getvalue().encode(), "text/csv", "text/csv")
    received = list(csv.reader(io.StringIO(content.decode(), newline="")))
    assert [row[:4] for row in received] == sent


def test_other_routes_and_methods_answer_with_a_problem(server: str) -> None:
    assert post(f"{server}/nope", b"", "text/csv")[:2] == (404, PROBLEM)
    assert post(f"{server}/model", b"", "text/csv")[:2] == (405, PROBLEM)


def post(url: str, body: bytes, content_type: str, accept: str = "*/*") -> tuple[int, str, bytes]:
    """The status, content type and body of an answer."""
    request = urllib.request.Request(url, body, {"content-type": content_type, "accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get_content_type(), error.read()
