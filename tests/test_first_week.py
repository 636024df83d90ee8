"""The commands of docs/first-week.md, and of others, that need an account: they are read and not run.

Those that need none (make, sam build, sam local, images, uploads to S3) are run by the other tests.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import botocore.session
import pytest
import yaml
from botocore import xform_name

from tests.support.containers import sam

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "first-week.md").read_text(encoding="utf-8")
BATCH = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE + BATCH, re.M | re.S)
#: The flags of ``aws`` itself, and of its ``s3`` commands, that botocore does not know.
GLOBAL = {"--query", "--output"}
S3_FLAGS = {
    "cp": {"--recursive", "--metadata-directive"},
    "ls": {"--recursive"},
    "rb": {"--force"},
    "mb": set(),
}


def commands(tool: str) -> list[list[str]]:
    """The words without a dash and the flags of each call of a tool on the page."""
    text = re.sub(r" +#.*", "", "\n".join(BLOCKS).replace("\\\n", " "))
    calls = re.findall(rf"\b{tool} ([a-z0-9-]+.*?)(?=; }}|&&|$)", text, re.M)
    return [re.findall(r"(?:^|(?<= ))(?:--)?[a-z0-9-]+(?=[ =]|$)", call) for call in calls]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][:40])
def test_every_block_is_shell(block: str) -> None:
    done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("words", commands("aws"), ids=lambda words: " ".join(words[:2]))
def test_aws_has_the_command_and_its_flags(words: list[str]) -> None:
    """As AWS's own description of its services has them, by which its command line is made."""
    service, command = words[:2]
    flags = {word for word in words if word.startswith("--")} - GLOBAL
    if service == "configure":  # the command line's own
        return
    if service == "s3":
        assert flags <= S3_FLAGS[command]
        return
    model = botocore.session.get_session().get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    assert command in names
    shape = model.operation_model(names[command]).input_shape
    taken = {f"--{xform_name(name, '-')}" for name in (shape.members if shape else ())}
    if (service, command) == ("lambda", "invoke"):
        taken |= {"--cli-binary-format"}
    assert flags <= taken


@pytest.mark.slow
def test_sam_has_the_commands_and_their_flags() -> None:
    asked = {words[0] for words in commands("sam")}
    assert asked == {"build", "deploy", "logs", "delete"}
    # In one process, as sam takes seconds to start.
    helped = "import sys; from samcli.cli.main import cli\nfor name in sys.argv[1:]:\n"
    helped += "    print('<', name, '>', sep=''); cli([name, '--help'], standalone_mode=False)"
    shown = sam("-c", helped, *sorted(asked), python=True, cwd=ROOT)
    help_of = dict(re.findall(r"^<(\w+)>\n(.*?)(?=^<\w+>$|\Z)", shown, re.M | re.S))
    assert help_of.keys() == asked
    for words in commands("sam"):
        flags = {word for word in words[1:] if word.startswith("--")}
        assert not [flag for flag in flags if flag not in help_of[words[0]]]


def test_what_the_page_asks_the_stack_for_is_there() -> None:
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    template = yaml.load(text, _Plain)
    asked = set(re.findall(r"\boutputs (\w+)", PAGE))
    assert asked <= set(template["Outputs"])
    given = set(re.findall(r"(\w+)=", " ".join(re.findall(r"`[^`]*(?:Concurrency|Topic)=[^`]*`", PAGE))))
    assert given <= set(template["Parameters"])
    assert f"alias `{template['Resources']['RequestFunction']['Properties']['AutoPublishAlias']}`" in PAGE
    defaults = {name: each.get("Default") for name, each in template["Parameters"].items()}
    reserved = sum(value for name, value in defaults.items() if name.endswith("Concurrency"))
    assert f"the stack reserves {reserved}." in PAGE


def test_the_costs_add_up() -> None:
    rows = [
        row.split("|")[2:-1] for row in PAGE.splitlines() if re.fullmatch(r"\|.*(\| [\d.]+ ){3}\|", row)
    ]
    *parts, together = [[float(cell) for cell in row] for row in rows]
    assert [round(sum(column), 2) for column in zip(*parts, strict=True)] == together


class _Plain(yaml.SafeLoader):
    """YAML in which CloudFormation's own tags, such as ``!Sub``, are left alone."""


_Plain.add_multi_constructor("!", lambda *_: None)
