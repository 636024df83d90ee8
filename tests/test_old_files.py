"""The commands of docs/old-files.md run here, with a stand-in for ``aws``.

It checks what it is asked by botocore's models of the services, of which the real one is made. Roles,
listings and objects are moto's; a stack, a function and a job, which moto does not have, are made up.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from handler.app import App
from handler.scoring.model import Model
from handler.settings import Settings
from tests.support.cloud import ACCOUNT, REGION, S3
from tests.support.events import batch_operation

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "old-files.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE.partition("## From one machine")[0], re.M | re.S)
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:churn-BatchFunction-1"
#: ``aws``: argv is that of the command line; what it sends goes to the file CALLS, a line each.
AWS = """\
import json, os, pathlib, sys
import boto3, botocore.session, jmespath
from botocore import xform_name
from botocore.validate import ParamValidator

words = sys.argv[1:]
service, command = words[:2]
if service == "s3":
    assert words[1:3] == ["cp", "--recursive"], words
    bucket, _, prefix = words[3].removeprefix("s3://").partition("/")
    s3 = boto3.client("s3")
    for each in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
        path = pathlib.Path(words[4], each["Key"].removeprefix(prefix))
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, each["Key"], str(path))
    sys.exit()
api = "s3" if service == "s3api" else service
model = botocore.session.get_session().get_service_model(api)
operation = model.operation_model({xform_name(name, "-"): name for name in model.operation_names}[command])
shape = operation.input_shape
members = {xform_name(name, "-"): name for name in shape.members}
asked, query = {}, None
for flag, value in zip(words[2::2], words[3::2], strict=True):
    if value.startswith("file://"):
        value = pathlib.Path(value.removeprefix("file://")).read_text()
    if flag == "--query":
        query = value
    elif flag == "--cli-input-json":
        asked |= json.loads(value)
    elif flag != "--output":
        name = members[flag.removeprefix("--")]
        kind = shape.members[name].type_name
        asked[name] = pathlib.Path(value).read_bytes() if kind == "blob" else value
if "ClientRequestToken" in shape.members:  # the command line makes one
    asked.setdefault("ClientRequestToken", "a token")
problems = ParamValidator().validate(asked, shape).generate_report()
assert not problems, problems
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps([command, {name: each for name, each in asked.items() if name != "Body"}]), file=calls)
made_up = json.loads(os.environ["MADE_UP"])
answer = made_up.get(command)
if answer is None:
    answer = getattr(boto3.client(api), command.replace("-", "_"))(**asked)
if query:
    answer = jmespath.search(query, answer)
if isinstance(answer, list):
    answer = "\\t".join(map(str, answer))
if query:
    print(answer)
"""


@pytest.fixture
def bucket(s3: S3) -> Iterator[str]:
    """An input and output bucket in one, with two old files and the report of a job."""
    bucket = s3.bucket()
    text = b"age,new_user,total_pages_visited\n45,0,5\n"
    for key in ("incoming/2024/a b+c.csv", "incoming/2024/100%/ü.csv", "incoming/2024/notes.txt"):
        s3.put(bucket, key, text)
    s3.put(bucket, "jobs/job-the-job/results/1.csv", b"bucket,key,,failed,500,PermanentFailure,why\n")
    yield bucket
    role = {"RoleName": "churn-old-files"}
    s3.client("iam").delete_role_policy(**role, PolicyName="old-files")
    s3.client("iam").delete_role(**role)


def run(s3: S3, bucket: str, folder: Path, blocks: list[str]) -> tuple[str, dict[str, Any]]:
    """What the page's blocks print, in one shell, and the parameters of each command's last call."""
    bin, calls = folder / "bin", folder / "calls"
    bin.mkdir()
    (bin / "aws.py").write_text(AWS)
    (bin / "aws").write_text(f'#!/bin/sh\nexec "{sys.executable}" -W ignore "{bin}/aws.py" "$@"\n')
    (bin / "aws").chmod(0o755)
    outputs = [{"OutputKey": name, "OutputValue": bucket} for name in ("InputBucket", "OutputBucket")]
    made_up = {
        "describe-stacks": {"Stacks": [{"Outputs": outputs}]},
        "describe-stack-resource": {"StackResourceDetail": {"PhysicalResourceId": "churn-BatchFunction-1"}},
        "get-function-configuration": {"FunctionArn": FUNCTION},
        "create-job": {"JobId": "the-job"},
        "describe-job": {"Job": {"Status": "Suspended", "ProgressSummary": {"TotalNumberOfTasks": 2}}},
        "update-job-status": {},
    }
    environment = {
        **os.environ, **s3.env, "PATH": f"{bin}:{os.environ['PATH']}", "CALLS": str(calls),
        "AWS_DEFAULT_REGION": REGION, "MADE_UP": json.dumps(made_up),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input="\n".join(blocks),
        env=environment,
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, dict(json.loads(line) for line in calls.read_text().splitlines())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
@pytest.mark.parametrize("own_list", [False, True], ids=["S3's list", "a list of one's own"])
def test_the_commands_make_a_job(
    s3: S3, model: Model, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_list: bool
) -> None:
    blocks = [block for block in BLOCKS if own_list or "list-objects-v2" not in block]
    assert len(blocks) == len(BLOCKS) - (not own_list)
    printed, calls = run(s3, bucket, tmp_path, blocks)
    assert "bucket,key,,failed,500,PermanentFailure,why" in printed
    job = calls["create-job"]
    assert job["Operation"] == {"LambdaInvoke": {"FunctionArn": FUNCTION, "InvocationSchemaVersion": "2.0"}}
    assert job["RoleArn"] == s3.client("iam").get_role(RoleName="churn-old-files")["Role"]["Arn"]
    (trust,) = json.loads(calls["create-role"]["AssumeRolePolicyDocument"])["Statement"]
    assert trust["Principal"] == {"Service": "batchoperations.s3.amazonaws.com"}
    allowed = json.loads(calls["put-role-policy"]["PolicyDocument"])["Statement"]
    assert [(each["Action"], each["Resource"]) for each in allowed] == [
        ("lambda:InvokeFunction", [FUNCTION, f"{FUNCTION}:*"]),
        ("s3:PutInventoryConfiguration", f"arn:aws:s3:::{bucket}"),
        (["s3:GetObject", "s3:PutObject"], f"arn:aws:s3:::{bucket}/jobs/*"),
    ]
    status = {"AccountId": ACCOUNT, "JobId": "the-job", "RequestedJobStatus": "Ready"}
    assert calls["update-job-status"] == status
    if not own_list:
        generator = job["ManifestGenerator"]["S3JobManifestGenerator"]
        assert generator["SourceBucket"] == f"arn:aws:s3:::{bucket}"
        assert "Manifest" not in job
        return
    location = job["Manifest"]["Location"]
    assert location["ObjectArn"] == f"arn:aws:s3:::{bucket}/jobs/manifest.csv"
    head = s3.client("s3").head_object(Bucket=bucket, Key="jobs/manifest.csv")
    assert location["ETag"] == head["ETag"].strip('"')
    # S3 would now call the function for each line.
    lines = s3.get(bucket, "jobs/manifest.csv").decode().splitlines()
    keys = [unquote_plus(line.removeprefix(f"{bucket},")) for line in lines]
    assert sorted(keys) == ["incoming/2024/100%/ü.csv", "incoming/2024/a b+c.csv"]
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    app = App(model, Settings(output_uri=f"s3://{bucket}/scored", allow_http=True))
    reply = app.handle(batch_operation(bucket, keys))
    assert [each["resultString"] for each in reply["results"]] == ["1 row, 1 scored, 0 rejected"] * 2


def test_what_the_page_names_is_in_the_template() -> None:
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    for name in ("BatchFunction", "BatchConcurrency", "BatchTimeout", "InputPrefix", "Tries"):
        assert re.search(rf"^  {name}:$", template, re.M)
        assert name in PAGE


def test_the_costs_are_those_of_the_formula() -> None:
    found = re.findall(r"^\| ([^|]+?) +\| ([\d.]+) \|$", PAGE, re.M)
    rows = {name: float(dollars) for name, dollars in found}
    seconds, memory = 0.1, 3008
    compute = 1_000_000 * seconds * memory / 1024 * 0.0000166667
    expected = [0.25 + 1.00, 0.20 + compute, 3 * 5.00 + 7 * 0.40]
    assert list(rows.values()) == [round(each, 2) for each in (*expected, sum(expected))]
    assert f"{1_000_000 * seconds / 5 / 3600:.1f} hours" in PAGE
