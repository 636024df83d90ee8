"""Print an image's bill of materials, in CycloneDX 1.6: the libraries that serve its bundle.

    python sbom.py model.json REPORT...

Each report is pip's own of an installation, the last one last, and has the hash of every wheel, which a
lock demanded if there was one (https://pip.pypa.io/en/stable/reference/installation-report/). The bill has
neither a time nor a random number, so the same locks and bundle give the same bytes
(https://cyclonedx.org/docs/1.6/json/).
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import distributions
from pathlib import Path


def canonical(name: str) -> str:
    """The name as package URLs have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


manifest, *reports = (json.loads(Path(path).read_bytes()) for path in sys.argv[1:])
reported = {  # by name: a later report tells of another version that replaced the lock's
    canonical(each["metadata"]["name"]): each for report in reports for each in report["install"]
}
sha256 = {
    (name, each["metadata"]["version"]): each["download_info"]["archive_info"]
    for name, each in reported.items()
}
installed = {(canonical(each.name), each.version) for each in distributions()}
if installed != set(sha256):
    sys.exit(f"not as the locks say: {sorted(installed ^ set(sha256))}")

bill = {
    "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "metadata": {
        "component": {"type": "container", "name": manifest["name"], "version": manifest["version"]},
    },
    "components": [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
            "hashes": [{"alg": "SHA-256", "content": sha256[name, version]["hashes"]["sha256"]}],
        }
        for name, version in sorted(installed)
    ],
}
print(json.dumps(bill, indent=1))
