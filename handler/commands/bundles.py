"""``check`` and ``sign``: the bundle itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from handler import terminal
from handler.bundle import Bundle
from handler.commands import common
from handler.manifest import MANIFEST, SIGNATURE
from handler.settings import Settings


def add_check(add: common.Add) -> None:
    """Add ``check`` and its flags."""
    add(
        check,
        "check that the bundle reproduces its golden predictions",
        "",
        "--model build/wine",
        one="a golden prediction differs",
    )


def check(options: argparse.Namespace, settings: Settings) -> int:
    """Predict the golden rows again and compare."""
    model = common.whole_model(settings)
    from handler.scoring import checking

    differences = checking.differences(model)
    for difference in differences:
        terminal.complain(difference)
    manifest = model.manifest
    rows, verdict = len(manifest.golden), f"{len(differences)} differ" if differences else "all reproduced"
    text = f"{manifest.name} {manifest.version} ({manifest.runtime}): {rows} golden rows, {verdict}"
    document = {"model": manifest.identity, "runtime": manifest.runtime, "golden": rows}
    common.print_result(options, {**document, "differences": list(differences)}, text)
    return 1 if differences else 0


def add_sign(add: common.Add) -> None:
    """Add ``sign`` and its flags."""
    command = add(sign, "vouch for the bundle with a private key of yours", "--key private.pem")
    command.add_argument("--key", type=Path, required=True, metavar="PRIVATE.pem", help="Ed25519, in PEM")


def sign(options: argparse.Namespace, settings: Settings) -> int:
    """Sign the bundle, after every file was compared with the manifest."""
    from handler import signing

    bundle = Bundle.open(settings.model_dir)
    for name in bundle.manifest.files:
        bundle.read(name)
    folder = Path(settings.model_dir)
    content = (folder / MANIFEST).read_bytes()
    (folder / SIGNATURE).write_bytes(signing.sign(options.key, content))
    manifest, file = bundle.manifest, str(folder / SIGNATURE)
    text = f"{manifest.name} {manifest.version}: signed, in {file}"
    common.print_result(options, {"model": manifest.identity, "signature": file}, text)
    return 0
