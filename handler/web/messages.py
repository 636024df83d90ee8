"""HTTP messages: a request as every envelope decodes to it, an answer, and what bodies can hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from handler.errors import (
    LONGEST_NAME,
    BodyTooLarge,
    FunctionError,
    InvalidBody,
    InvalidRecords,
    Problem,
    Problems,
    RequestError,
    UnsupportedEncoding,
)
from handler.schema import Record
from handler.typed import Any, NamedTuple

JSON = "application/json"
CSV = "text/csv"
#: What browsers and clients call a CSV file that they send as a body.
CSV_TYPES = (CSV, "application/csv", "application/vnd.ms-excel", "text/plain", "application/octet-stream")
MULTIPART = "multipart/form-data"
FORM = "application/x-www-form-urlencoded"
PROBLEM = "application/problem+json"
HTML = "text/html"
MARKDOWN = "text/markdown"
#: RFC 9110's names, where Python's differ by version.
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
CONTROLS = bytes(set(range(0x20)) - set(b"\n\r\t"))
#: Bytes that are looked at in one call: a longer one would hold up the other threads.
SLICE = 256 * 1024
#: Hints for a body with curl's own content type, that of forms; its -d also removes a file's line ends.
CURL_JSON = "; with curl: -H 'content-type: application/json' -d ..."
CURL_CSV = "-H 'content-type: text/csv' --data-binary @f.csv, since -d takes the line ends out"
#: Content codings that bodies may have. https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
CODINGS = ("gzip", "deflate")
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
#: Records, each with its prediction as it was answered.
Predicted = Iterable[tuple[Record, Mapping[str, Any]]]


class Request(NamedTuple):
    """An HTTP request, decoded: header names in lower case, query parameters as (name, text) pairs.

    ``prefix``: what the platform took off the path's front. ``size``: the announced length of the
    body, where it is longer than what was read of it. ``most``: bytes that an answer may have.
    ``captured``: the answer is to have what was ``predicted``.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes = b""
    prefix: str = ""
    size: int = 0
    most: int | None = None
    captured: bool = False

    @property
    def route(self) -> str:
        """The last segment of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def media_type(self) -> str:
        """The content type in lower case without its parameters; empty where none is given."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Answer(NamedTuple):
    """An HTTP answer; for the log, ``rows`` counts the records in it, ``rejected`` those not predicted.

    ``predicted``: the records with their predictions, where the request is captured.
    """

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    rows: int = 0
    rejected: int = 0
    predicted: Predicted = ()


def answer_json(
    document: object,
    status: int = 200,
    rows: int = 0,
    media_type: str = JSON,
    rejected: int = 0,
    predicted: Predicted = (),
) -> Answer:
    """A JSON answer; doubles are written so that they read back to the same double."""
    headers = {"content-type": media_type, "x-content-type-options": "nosniff"}
    return Answer(status, headers, as_json(document), rows, rejected, predicted)


def as_json(document: object) -> bytes:
    """A document as JSON; half of a surrogate pair is written as an escape."""
    return ENCODER.encode(document).encode(errors="backslashreplace")


def problem(error: FunctionError, most: int | None = None) -> Answer:
    """The problem document of an error, in at most ``most`` bytes. https://www.rfc-editor.org/rfc/rfc9457

    Its member ``more`` counts the problems that it does not list.
    """
    status = error.status
    problems, more = (error.problems, error.more) if isinstance(error, RequestError) else ((), 0)
    document = {
        "type": "about:blank",
        "title": title(status),
        "status": status,
        "detail": str(error),
        "errors": [fault.as_json() for fault in problems],
        **({"more": more} if more else {}),
    }
    answer = answer_json(document, status, media_type=PROBLEM)
    if most is not None and problems and length_in_json(answer) > most:
        assert isinstance(error, RequestError)
        fewer = problems[: len(problems) // 2]
        error.problems, error.more = fewer, more + len(problems) - len(fewer)
        return problem(error, most)
    owed = error.headers if isinstance(error, RequestError) else {}
    return answer._replace(headers={**answer.headers, **owed})


def title(status: int) -> str:
    """The name of a status."""
    import http

    return TITLES.get(status) or http.HTTPStatus(status).phrase


def unpacked(request: Request, most: int) -> bytes:
    """The request's body without its content coding.

    Raises ``UnsupportedEncoding``, ``InvalidBody``, and ``BodyTooLarge`` past ``most`` bytes, unpacking
    no more of it.
    """
    coding = request.headers["content-encoding"].strip().lower()
    if coding in ("", "identity"):
        return request.body
    if coding not in (*CODINGS, "x-gzip"):
        raise UnsupportedEncoding(CODINGS)
    import zlib

    stream = zlib.decompressobj(zlib.MAX_WBITS + 32)  # gzip or zlib, by its first bytes
    try:
        body = stream.decompress(request.body, most + 1)
    except zlib.error as error:
        raise InvalidBody(f"the body is not {coding}, as its content-encoding header says") from error
    if len(body) > most:
        raise BodyTooLarge(most)
    if not stream.eof or stream.unused_data:
        raise InvalidBody(f"the body is not one whole {coding} stream")
    return body


def read_json(body: bytes) -> object:
    """Parse a JSON body; raises ``InvalidBody``. A repeated key and NaN are left to the schema's rules."""

    def pairs(members: list[tuple[str, object]]) -> dict[str, object]:
        document = dict(members)
        if len(document) < len(members):
            raise _repeated(members)
        return document

    try:
        document = json.loads(body, object_pairs_hook=pairs)
        if b"\\ud" in body.lower():
            json.dumps(document, ensure_ascii=False).encode()
        return document
    except RecursionError as error:
        raise InvalidBody("the body nests too deeply") from error
    except UnicodeDecodeError as error:
        raise InvalidBody("the body is not UTF-8") from error
    except UnicodeEncodeError as error:
        raise InvalidBody("a text in the body holds half of a surrogate pair") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidBody(f"the body is not JSON ({error.msg} at {where})") from error
    except ValueError as error:
        raise InvalidBody("the body holds a number with too many digits") from error


def _repeated(members: Sequence[tuple[str, object]]) -> InvalidRecords:
    seen: set[str] = set()
    problems = Problems()
    for name, _ in members:
        if name in seen:
            shown = name[:LONGEST_NAME]
            problems.add(shown, "repeated", f"'{shown}' is given more than once")
        seen.add(name)
    return InvalidRecords(problems.listed, problems.more)


def multipart_file(request: Request) -> bytes:
    """The content of the form field ``file``; raises ``InvalidBody``.

    https://www.rfc-editor.org/rfc/rfc7578
    """
    import multipart

    _, options = multipart.parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get("boundary")
    if not boundary:
        raise InvalidBody(
            "the multipart content type does not name a boundary; let the client set the header"
        )
    content: list[bytes] | None = None
    try:
        with multipart.PushMultipartParser(boundary, max_segment_count=128) as parser:
            current: list[bytes] = []
            for piece in parser.parse(request.body):
                if isinstance(piece, multipart.MultipartSegment):
                    current = []
                    if piece.name == "file" and content is None:
                        content = current
                elif piece is not None:
                    current.append(bytes(piece))
    except multipart.MultipartError as error:
        raise InvalidBody(f"the multipart body is malformed ({error})") from error
    if content is None:
        raise InvalidBody(
            "the form has no field named 'file'",
            [Problem("file", "missing", "send the CSV in the form field 'file'")],
        )
    return b"".join(content)


def prefers_csv(accept: str) -> bool:
    """Whether an Accept header asks for text/csv rather than JSON. RFC 9110, section 12.5.1."""
    weights = {}
    for entry in accept.lower().split(","):
        media_type, *parameters = (word.strip() for word in entry.split(";"))
        quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        try:
            weights[media_type] = float(quality)
        except ValueError:
            weights[media_type] = 0.0
    return weights.get(CSV, 0.0) > weights.get(JSON, 0.0) or (
        weights.get(CSV, 0.0) > 0
        and weights.get(CSV) == weights.get(JSON)
        and accept.find(CSV) < accept.find(JSON)
    )


def length_in_json(answer: Answer) -> int:
    """Bytes of the body as a JSON string in the platform's envelope: a quote takes two there."""
    body = answer.body
    if "content-encoding" in answer.headers:
        return len(body) * 4 // 3 + 4
    return sum(_length_in_json(body[start : start + SLICE]) for start in range(0, len(body), SLICE))


def _length_in_json(body: bytes) -> int:
    controls = len(body) - len(body.translate(None, CONTROLS))  # each becomes \\u and four digits
    return len(body) + 5 * controls + sum(map(body.count, (b'"', b"\\", b"\n", b"\r", b"\t")))
