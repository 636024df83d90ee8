"""The events of ``events/``, and the golden replies to them in ``tests/golden``.

``python -m tests.support.events`` writes the replies anew: look at the difference first.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

EVENTS = Path(__file__).resolve().parents[2] / "events"
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
HTTP = ("apigateway-v1", "apigateway-v2", "function-url", "alb", "alb-multi-value")
LATTICE = ("vpc-lattice-v1", "vpc-lattice-v2")
DIRECT = ("direct", "direct-instances")
#: What looks like a request and is none, with what the refusal calls it.
REFUSED = {
    "authorizer-token": "API Gateway authorizer",
    "authorizer-request": "API Gateway authorizer",
    "authorizer-http-v1": "API Gateway authorizer",
    "authorizer-http-v2": "API Gateway authorizer",
    "websocket-connect": "WebSocket",
    "websocket-disconnect": "WebSocket",
    "websocket-message": "WebSocket",
    "bedrock-agent-api": "Bedrock agent",
    "bedrock-agent-function": "Bedrock agent",
}


def event(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def batch_operation(bucket: str, keys: Iterable[str], version: str = "2.0", **arguments: str) -> Any:
    """What S3 Batch Operations sends for objects: their keys form-encoded, as "a+b.csv" for "a b.csv"."""
    named = {"1.0": {"s3BucketArn": f"arn:aws:s3:::{bucket}"}, "2.0": {"s3Bucket": bucket}}[version]
    tasks = [
        {"taskId": f"task {key}", "s3Key": quote_plus(key, safe="/"), "s3VersionId": None, **named}
        for key in keys
    ]
    job = {"id": "a job", **({"userArguments": arguments} if version == "2.0" else {})}
    return {"invocationSchemaVersion": version, "invocationId": "an id", "job": job, "tasks": tasks}


def comparable(reply: Any) -> Any:
    """A reply with its body parsed, and what another training would change made plain."""
    reply = copy.deepcopy(reply)
    if isinstance(reply.get("body"), str) and reply["body"].startswith("{"):
        reply["body"] = json.loads(reply["body"])
    return json.loads(json.dumps(reply), object_hook=_plain)


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    if document.keys() == {"name", "version"}:
        return {**document, "version": "VERSION"}
    return {name: _rounded(value) for name, value in document.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 6) if isinstance(value, float) else value


if __name__ == "__main__":
    import tempfile

    from handler.app import App
    from handler.scoring.model import Model
    from handler.settings import Settings
    from tests.support.bundles import trained
    from training.data import sample

    with tempfile.TemporaryDirectory() as folder:
        rows = sample.rows(555, rows=20_000, converted=645)
        fresh = App(Model.load(trained(Path(folder), rows, "sales")), Settings())
        for each in (*HTTP, *LATTICE, *DIRECT):
            text = json.dumps(comparable(fresh.handle(event(each))), indent=2, ensure_ascii=False)
            (GOLDEN / f"{each}.json").write_text(text + "\n")
