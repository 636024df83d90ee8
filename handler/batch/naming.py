"""Where the outputs of an input stand, and which objects are outputs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from handler.storage.locations import Location
from handler.tables.compression import PACKED

PREDICTIONS, REJECTED, SUMMARY = "predictions.csv", "rejected.csv", "summary.json"
OUTPUTS = (PREDICTIONS, REJECTED, SUMMARY)
#: The items of a file that is scored in parts, as a state machine reads them.
PLAN = "plan.json"
#: The folders of a file's parts: each has an object ``part-00000.csv`` (or ``.json``) and so forth.
PART_PREDICTIONS, PART_REJECTED, PART_RECORDS = "predictions", "rejected", "parts"
#: Parts of a file, at most: a list of them all is to stay small, and their names have five digits.
MOST_PARTS = 10_000
#: Names of tables, as events and folders have them.
PLAIN_SUFFIXES = (".csv", ".tsv")
SUFFIXES = tuple(f"{kind}{packed}" for kind in PLAIN_SUFFIXES for packed in ("", *PACKED))

_PART = re.compile(
    rf"(.*)/(?:{PART_PREDICTIONS}|{PART_REJECTED}|{PART_RECORDS})/part-\d{{5}}\.(?:csv|json)"
)


def is_output(input: Location, output: Location) -> bool:
    """Whether an object was written by scoring: it lies under ``output``, or is named as outputs are.

    A whole bucket, without a prefix, may hold inputs too: there only the name decides.
    """
    part = _PART.fullmatch(input.key)
    folder = part[1] if part else input.key.rpartition("/")[0]
    named = input.name == SUMMARY or (
        (part is not None or input.name in OUTPUTS) and folder.lower().endswith(SUFFIXES)
    )
    return named or (output.key.strip("/") != "" and input.is_under(output))


def is_part(location: Location) -> bool:
    """Whether an object is named as a part's are, whatever else lies in its folder."""
    return _PART.fullmatch(location.key) is not None


def beside(input: Location) -> Location:
    """Where ``python -m handler score`` writes without ``--output``: ``scored/NAME/`` beside the input."""
    folder, _, name = input.key.rpartition("/")
    return Location(input.scheme, input.bucket, folder).child("scored", name)


def into(input: Location, output: Location, inputs: Sequence[str]) -> Location:
    """The folder of an input's outputs: its whole key under ``output``; a local one's file name.

    Where ``inputs`` (INPUT_URI) are in more than one bucket, the bucket's name stands before the key, and
    the scheme before that where an S3 and a GCS bucket have one name. So no two inputs share a folder,
    as a bucket's name never has a slash.
    """
    if input.scheme == "file":
        return output.child(input.name)
    buckets = {(prefix.scheme, prefix.bucket) for prefix in map(Location.parse, inputs)}
    if len(buckets) == 1 or not buckets:
        return output.child(input.key)
    alike = len({bucket for _, bucket in buckets}) < len(buckets)
    return output.child(*([input.scheme] if alike else []), input.bucket, input.key)
