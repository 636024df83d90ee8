"""The commands that come after training, whole, with this bundle's own folder and one of its records."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from handler.manifest import Manifest
from handler.schema import to_text

#: Characters of the longest command that is shown: a record of very many features is left out.
LONGEST = 2000
DEFAULT = Path("handler/model")


def next_steps(manifest: Manifest, out: Path, data: Path | None = None) -> str:
    """Each command below what it is for; ``data``: a CSV to score, where one is at hand."""
    port = os.environ.get("PORT") or "8080"
    page = f"http://localhost:{port}/"
    handler = _handler()
    checkout = Path("containers/build.sh").is_file() and Path("Makefile").is_file()
    default = out == DEFAULT
    flag = "" if default else f" --model {shlex.quote(str(out))}"
    variable = "" if default else f" MODEL={shlex.quote(str(out))}"
    if not checkout:  # then make is typed elsewhere
        variable = f" MODEL={shlex.quote(str(out.absolute()))}"
    synthetic = " SYNTHETIC=1" if manifest.training.get("synthetic") else ""
    steps = (
        (f"serve it on {page}", f"make serve{variable}" if checkout else f"{handler} serve{flag}"),
        ("predict a record", f"{handler} predict{flag} {_record(manifest)}"),
        ("score a file", f"{handler} score{flag} {shlex.quote(str(data or 'rows.csv'))}"),
        (
            "build its images" + ("" if checkout else ", in a checkout of sklearn-function"),
            f"make images{variable}{synthetic}",
        ),
        (
            f"run one on {page}",
            f"docker run --rm --read-only --tmpfs /tmp --cap-drop ALL -p {port}:8080 "
            "sklearn-function:cloudrun",
        ),
    )
    lines = [(f"  # {what}", f"  {command}") for what, command in steps if len(command) <= LONGEST]
    return "\n".join(["next:", *(line for both in lines for line in both)])


def _handler() -> str:
    """How the commands of ``python -m handler`` are typed here: as this one was."""
    if Path(sys.argv[0]).name == "sklearn-function":
        return "sklearn-function"
    typed = shutil.which("python")
    if typed is None or Path(typed).absolute() != Path(sys.executable).absolute():
        typed = sys.executable
        if Path(typed).is_relative_to(Path.cwd()):
            typed = str(Path(typed).relative_to(Path.cwd()))
        return f"{shlex.quote(typed)} -m handler"
    return "python -m handler"


def _record(manifest: Manifest) -> str:
    """A record that the model was tried on, as ``predict`` takes it."""
    record = manifest.golden[0]["record"] if manifest.golden else {}
    known = [each for each in manifest.features if record.get(each.name) is not None]
    return " ".join(shlex.quote(f"{each.name}={to_text(each, record[each.name])}") for each in known)
