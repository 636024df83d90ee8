"""The routes about the model: the manifest, its report, the OpenAPI document, and its page."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from handler.bundle import CARD, REPORT
from handler.errors import NotFound
from handler.scoring.model import Model
from handler.web import openapi
from handler.web.messages import HTML, MARKDOWN, Answer, Request, answer_json

#: Characters of a path that the OpenAPI document names as its server's.
LONGEST_FOLDER = 1000
#: The routes of the model report, and the bundle's files that they send.
REPORTS = {"report": REPORT, "card": CARD}
FOLDER = Path(__file__).parent / "swagger"
#: The page and what it loads, by route: the file in ``FOLDER`` and its content type.
ASSETS: Mapping[str, tuple[str, str]] = {
    "apidocs": ("index.html", f"{HTML}; charset=utf-8"),
    "apidocs.js": ("apidocs.js", "text/javascript; charset=utf-8"),
    "swagger-ui.css": ("swagger-ui.css.gz", "text/css; charset=utf-8"),
    "swagger-ui-bundle.js": ("swagger-ui-bundle.js.gz", "text/javascript; charset=utf-8"),
}


def get_model(model: Model, request: Request) -> Answer:  # noqa: ARG001
    """What the model is, takes and achieved."""
    document = model.manifest.as_json()
    del document["files"]
    reports = {route: route for route, name in REPORTS.items() if name in model.documents}
    return answer_json({**document, "links": {"openapi": "openapi.json", "page": "apidocs", **reports}})


def get_health(model: Model, request: Request) -> Answer:  # noqa: ARG001
    """That the model is loaded."""
    return answer_json({"status": "ok", "model": model.manifest.identity})


def get_report(model: Model, request: Request) -> Answer:
    """The model report that training wrote: a page with pictures, or Markdown."""
    name = REPORTS[request.route]
    content = model.documents.get(name)
    if content is None:
        raise NotFound("this bundle has no model report; train again, and it has")
    if not model.manifest.vouches(name, content):
        raise NotFound("the model report was changed after training; restore it or train again")
    headers = {
        "content-type": f"{HTML if name == REPORT else MARKDOWN}; charset=utf-8",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "frame-ancestors 'none'",
    }
    return Answer(200, headers, content)


def get_openapi(model: Model, request: Request) -> Answer:
    """The OpenAPI document."""
    folder = request.prefix + request.path.rstrip("/").rpartition("/")[0]
    return answer_json(openapi.document(model.manifest, _server(folder)))


def get_page(model: Model, request: Request) -> Answer:  # noqa: ARG001
    """The Swagger page and the files that it loads."""
    if request.path.endswith("/"):  # the page's links are relative to the path without the slash
        return Answer(308, {"location": f"../{request.route}"})
    content, content_type = asset(request.route)
    headers = {
        "content-type": content_type,
        "vary": "accept-encoding",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; frame-ancestors 'none'",
        "cache-control": "no-cache" if request.route == "apidocs" else "public, max-age=86400",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Answer(200, {**headers, "content-encoding": "gzip"}, content)
    return Answer(200, headers, gzip.decompress(content))


#: What answers each route here, by the last segment of its path.
PAGES: Mapping[str, Callable[[Model, Request], Answer]] = {
    "model": get_model,
    "healthz": get_health,
    "openapi.json": get_openapi,
    **dict.fromkeys(REPORTS, get_report),
    **dict.fromkeys(ASSETS, get_page),
}


@functools.cache
def asset(name: str) -> tuple[bytes, str]:
    """The gzip bytes and the content type of a route in ``ASSETS``."""
    file, content_type = ASSETS[name]
    content = (FOLDER / file).read_bytes()
    return content if file.endswith(".gz") else gzip.compress(content, mtime=0), content_type


def _server(folder: str) -> str:
    """The URL of a path's folder on this very server; its root where browsers could read another from it.

    https://url.spec.whatwg.org/#path-state
    """
    segments = unquote(folder).strip("/").split("/")
    sound = all(name.isprintable() and "\\" not in name and name.strip(".") for name in segments)
    if not sound or len(folder) > LONGEST_FOLDER:
        return "/"
    return "/" + "/".join(map(quote, segments))
