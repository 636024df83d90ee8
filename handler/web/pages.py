"""The routes about the model: the page for people, the manifest, its report, OpenAPI and Swagger."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from handler.errors import NotFound
from handler.manifest import CARD, REPORT
from handler.scoring.model import Model
from handler.web import openapi
from handler.web.messages import HTML, MARKDOWN, Answer, Request, answer_json

#: Characters of a path that the OpenAPI document names as its server's.
LONGEST_FOLDER = 1000
#: The routes of the model report, and the bundle's files that they send.
REPORTS = {"report": REPORT, "card": CARD}
FOLDER = Path(__file__).parent
SCRIPT = "text/javascript; charset=utf-8"
STYLE = "text/css; charset=utf-8"
#: What Swagger's styles need of the content security policy.
INLINE = " 'unsafe-inline'"
#: The pages and what they load, by route: the file in ``FOLDER`` and its content type. "" is the page for
#: people, and ``docs`` another name of Swagger's.
ASSETS: Mapping[str, tuple[str, str]] = {
    "": ("page/index.html", f"{HTML}; charset=utf-8"),
    "page.js": ("page/page.js", SCRIPT),
    "page.css": ("page/page.css", STYLE),
    "apidocs": ("swagger/index.html", f"{HTML}; charset=utf-8"),
    "docs": ("swagger/index.html", f"{HTML}; charset=utf-8"),
    "apidocs.js": ("swagger/apidocs.js", SCRIPT),
    "swagger-ui.css": ("swagger/swagger-ui.css.gz", STYLE),
    "swagger-ui-bundle.js": ("swagger/swagger-ui-bundle.js.gz", SCRIPT),
}


def get_model(model: Model, request: Request) -> Answer:  # noqa: ARG001
    """What the model is, takes and achieved."""
    document = model.manifest.as_json()
    del document["files"]
    reports = {route: route for route, name in REPORTS.items() if model.documents(name) is not None}
    links = {"openapi": "openapi.json", "page": "./", "apidocs": "apidocs", **reports}
    return answer_json({**document, "links": links})


def get_health(model: Model, request: Request) -> Answer:  # noqa: ARG001
    """That the model is loaded."""
    return answer_json({"status": "ok", "model": model.manifest.identity})


def get_report(model: Model, request: Request) -> Answer:
    """The model report that training wrote: a page with pictures, or Markdown."""
    name = REPORTS[request.route]
    content = model.documents(name)
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


def get_front(model: Model, request: Request) -> Answer:  # noqa: ARG001
    """The page for people, which predicts as one types; its links are relative to a path with a slash."""
    path = request.prefix + request.path
    if not path or path.endswith("/"):
        return _sent("", request)
    folder = unquote(path.rpartition("/")[2])
    if not folder.isprintable() or not folder.strip(".") or len(folder) > LONGEST_FOLDER:
        raise NotFound("no such route")
    return Answer(302, {"location": f"./{quote(folder, safe='')}/"})


def get_page(model: Model, request: Request) -> Answer:  # noqa: ARG001
    """The Swagger page, and the files that either page loads."""
    if request.path.endswith("/"):  # the page's links are relative to the path without the slash
        return Answer(308, {"location": f"../{request.route}"})
    return _sent(request.route, request)


def _sent(name: str, request: Request) -> Answer:
    """The file of a route in ``ASSETS``, compressed where the browser takes it."""
    content, content_type = asset(name)
    swagger = ASSETS[name][0].startswith("swagger/")
    changes = not swagger or content_type.startswith(HTML)
    headers = {
        "content-type": content_type,
        "vary": "accept-encoding",
        "x-content-type-options": "nosniff",
        "content-security-policy": f"default-src 'self'; style-src 'self'{INLINE if swagger else ''}; "
        "img-src 'self' data:; frame-ancestors 'none'",
        "cache-control": "no-cache" if changes else "public, max-age=86400",
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
    "": get_front,
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
