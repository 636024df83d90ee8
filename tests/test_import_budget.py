"""What a cold single prediction may load beyond Lambda's runtime client: each import is waited for.

``make bench PARTS=start`` measures it. A module that is not listed here fails the test by name: import it
where it is needed, or, if every first prediction needs it, measure what it costs and list it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HANDLER = {
    "", ".app", ".bundle", ".errors", ".manifest", ".manifest_rules", ".schema", ".settings",
    ".telemetry", ".typed",
    ".events", ".events.http", ".events.jobs", ".events.envelopes",
    ".scoring", ".scoring.explanations", ".scoring.model", ".scoring.outputs", ".scoring.row_program",
    ".scoring.scorers",
    ".web", ".web.api", ".web.messages", ".web.predictions",
}  # fmt: skip
ALLOWED = {
    "_sha2", "_sha256", "gc",
    *(f"handler{name}" for name in HANDLER),
}  # fmt: skip
#: What else Python 3.11 loads for sha256.
HASHES = {"hashlib", "_hashlib", "_blake2", "_md5", "_sha1", "_sha3", "_sha512"}
EVENTS = {
    "GET /predict": {
        "version": "2.0",
        "rawPath": "/predict",
        "headers": {"accept": "*/*"},
        "rawQueryString": "age=45&new_user=0&total_pages_visited=5",
        "requestContext": {"http": {"method": "GET"}},
    },
    "POST /predict": {
        "version": "2.0",
        "rawPath": "/predict",
        "headers": {"content-type": "application/json"},
        "body": '{"age": 45, "new_user": 0, "total_pages_visited": 5}',
        "requestContext": {"http": {"method": "POST"}},
    },
    "direct": {"age": 45, "new_user": 0, "total_pages_visited": 5},
}
SCRIPT = """
import json, sys
import awslambdaric.bootstrap
before = set(sys.modules)
from handler.app import lambda_handler
reply = lambda_handler(json.loads(sys.argv[1]), None)
assert reply.get("statusCode", 200) == 200, reply
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded(name: str, bundle_dir: Path, **env: str) -> set[str]:
    """What a first prediction loads that is not listed."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(EVENTS[name])],
        env={**os.environ, "MODEL_DIR": str(bundle_dir), "LOG_LEVEL": "ERROR", **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout)) - ALLOWED - (HASHES if sys.version_info < (3, 12) else set())


@pytest.mark.parametrize("name", list(EVENTS))
def test_a_first_prediction_loads_what_is_listed(name: str, bundle_dir: Path) -> None:
    assert loaded(name, bundle_dir) == set()


@pytest.mark.parametrize("share", ["0", "1"])
def test_a_capture_that_writes_nothing_yet_loads_itself_alone(share: str, bundle_dir: Path) -> None:
    env = {"AWS_LAMBDA_FUNCTION_NAME": "f", "CAPTURE_URI": "s3://bucket/folder", "CAPTURE_SHARE": share}
    assert loaded("POST /predict", bundle_dir, **env) == {"handler.capture", "handler.faults"}
