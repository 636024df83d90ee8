"""Lambda's SnapStart: what is done before a snapshot of this process, and renewed in each copy of it.

A snapshot is taken after the start and before the first event, so what an event begins is a copy's own: the
deadline, the storage with its connections and credentials, a log line's time, the mark of a first answer.
Ids and names of files are made of the system's randomness. What is left are the generators that libraries
seed when they are imported.

https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
"""

from __future__ import annotations

import sys

from handler.scoring.model import Model
from handler.scoring.row_program import ROWS_OF_ARRAYS
from handler.typed import Any

#: Modules with a generator of their own, of which ``seed()`` asks the system.
GENERATORS = ("random", "numpy.random")


def prepare(model: Model) -> None:
    """Do now what first predictions would do, and have each copy renew what it must not share."""
    from snapshot_restore_py import register_after_restore  # a part of Lambda's runtime client

    record = model.schema.from_json(model.manifest.golden[0]["record"])
    for _ in range(1 if model.program is None else ROWS_OF_ARRAYS + 1):
        model.predict_one(record)
    register_after_restore(renew)


def renew() -> None:
    """Seed anew the generators that are loaded."""
    for name in GENERATORS:
        module: Any = sys.modules.get(name)
        if module is not None:
            module.seed()
