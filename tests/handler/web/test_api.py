"""The routes, through the one dispatch, with the Flask-free request that functions-framework's becomes."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
import tracemalloc
import zlib
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.app import App
from handler.errors import Problems
from handler.schema import NUMBER, is_number
from handler.scoring.model import Model
from handler.settings import Settings
from handler.web.messages import Answer, Request

GOOD = {"age": 45, "new_user": 0, "total_pages_visited": 5}
CSV = b"age,new_user,total_pages_visited\n45,0,5\n"


@pytest.fixture(scope="module")
def app(model: Model) -> App:
    return App(model, Settings())


def ask(app: App, method: str, path: str, body: Any = b"", query: Any = (), **headers: str) -> Answer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    if not isinstance(body, bytes):
        body, named = json.dumps(body).encode(), {"content-type": "application/json", **named}
    pairs = tuple((name, str(text)) for name, text in (query.items() if isinstance(query, dict) else query))
    answer: Answer = app.handle(Request(method, path, pairs, named, body))
    return answer


def said(answer: Answer) -> Any:
    return json.loads(answer.body)


def codes(answer: Answer) -> list[tuple[str, str]]:
    assert answer.headers["content-type"] == "application/problem+json"
    document = said(answer)
    assert document["status"] == answer.status
    assert document["type"] == "about:blank"
    return [(each["field"], each["code"]) for each in document["errors"]]


def multipart(*parts: tuple[str, str | None, bytes], boundary: str = "b o") -> tuple[bytes, str]:
    lines = []
    for name, filename, content in parts:
        file = f'; filename="{filename}"' if filename is not None else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        lines += [head.encode(), content, b"\r\n"]
    return b"".join(lines) + f"--{boundary}--\r\n".encode(), f'multipart/form-data; boundary="{boundary}"'


def test_one_customer_in_the_query(app: App, model: Model) -> None:
    answer = ask(app, "GET", "/predict", query={"age": "45", "new_user": "0", "total_pages_visited": "5"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    document = said(answer)
    assert document["prediction"] == 0
    assert list(document["probabilities"]) == ["0", "1"]
    assert sum(document["probabilities"].values()) == pytest.approx(1)
    assert document["model"] == {"name": "sales", "version": model.manifest.version}


def test_query_json_and_csv_say_the_same_to_the_last_bit(app: App) -> None:
    query = said(ask(app, "GET", "/predict", query={name: str(value) for name, value in GOOD.items()}))
    record = said(ask(app, "POST", "/predict", GOOD))
    (listed,) = said(ask(app, "POST", "/predict", [GOOD]))["predictions"]
    (instance,) = said(ask(app, "POST", "/predict", {"instances": [GOOD]}))["predictions"]
    (row,) = said(ask(app, "POST", "/predict", CSV, content_type="text/csv"))["predictions"]
    joined = ask(
        app, "POST", "/predict_file", CSV, content_type="text/csv", accept="text/csv"
    ).body.decode()
    (cells,) = csv.DictReader(io.StringIO(joined))
    assert query == record
    assert {**listed, "model": record["model"]} == record
    assert listed == instance == row
    assert float(cells["probability"]) == record["probabilities"]["1"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"new_user": "0", "total_pages_visited": "5"}, [("age", "missing")]),
        ({"age": "", "new_user": "0", "total_pages_visited": "5"}, [("age", "missing")]),
        ({"age": "x", "new_user": "0.5", "total_pages_visited": "nan"},
         [("age", "not_a_number"), ("new_user", "not_an_integer"), ("total_pages_visited", "not_finite")]),
        ({"agee": "45", **{name: str(value) for name, value in GOOD.items()}}, [("agee", "unknown_field")]),
        ({"age": "1e300", "new_user": "-inf", "total_pages_visited": "1_0"},
         [("age", "out_of_range"), ("new_user", "not_finite"), ("total_pages_visited", "not_a_number")]),
        ([("age", "1"), ("age", "1"), ("new_user", "0"), ("total_pages_visited", "5")],
         [("age", "repeated")]),
    ],
)  # fmt: skip
def test_all_that_is_wrong_with_a_query_is_told_at_once(app: App, query: Any, expected: Any) -> None:
    answer = ask(app, "GET", "/predict", query=query)
    assert answer.status == 422
    assert codes(answer) == expected


@pytest.mark.parametrize("text", ["45", "45.0", " 45 ", "+45", "4.5e1"])
def test_ways_to_spell_a_whole_number_in_text(app: App, text: str) -> None:
    assert ask(app, "GET", "/predict", query={**GOOD, "age": text}).status == 200


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({**GOOD, "age": "45"}, [("age", "not_a_number")]),
        ({**GOOD, "age": True}, [("age", "not_a_number")]),
        ({**GOOD, "age": None}, [("age", "missing")]),
        ({**GOOD, "age": 45.5}, [("age", "not_an_integer")]),
        ({**GOOD, "age": 10**400}, [("age", "out_of_range")]),
        ({**GOOD, "age": [45]}, [("age", "not_a_number")]),
        ([GOOD, 3, {}], [("", "not_a_record"), ("age", "missing"), ("new_user", "missing"),
                         ("total_pages_visited", "missing")]),
        ({"instances": GOOD}, [("instances", "not_a_list")]),
        ({"instances": [GOOD], "parameters": {}}, [("parameters", "unknown_field")]),
        ("text", [("", "not_a_record")]),
    ],
)  # fmt: skip
def test_json_that_does_not_fit_the_schema(app: App, body: Any, expected: Any) -> None:
    answer = ask(app, "POST", "/predict", body)
    assert answer.status == 422
    assert codes(answer) == expected


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"age": NaN, "new_user": 0, "total_pages_visited": 5}', 422, "not_finite"),
        (b'{"age": 1e999, "new_user": 0, "total_pages_visited": 5}', 422, "not_finite"),
        (b'{"age": 1, "age": 2, "new_user": 0, "total_pages_visited": 5}', 422, "repeated"),
        (b"", 400, None),
        (b"{", 400, None),
        (b"\xff", 400, None),
        (b"[" * 100_000, 400, None),
        (b"1" * 5000, 400, None),
    ],
)
def test_json_that_is_odd_or_broken(app: App, body: bytes, status: int, code: str | None) -> None:
    answer = ask(app, "POST", "/predict", body, content_type="application/json; charset=utf-8")
    assert answer.status == status
    assert [each for _, each in codes(answer)] == ([code] if code else [])


def test_a_near_miss_is_suggested_and_no_value_is_echoed(app: App) -> None:
    answer = ask(app, "POST", "/predict", {**GOOD, "Total_Pages_visited": 5, "age": "s3cret"})
    assert "did you mean 'total_pages_visited'?" in said(answer)["detail"]
    assert b"s3cret" not in answer.body


def test_a_list_of_none_has_no_predictions(app: App) -> None:
    assert said(ask(app, "POST", "/predict", []))["predictions"] == []


def test_rows_as_csv_are_predicted_all_or_none(app: App) -> None:
    body = CSV + b"x,0,5\n46,0\n"
    answer = ask(app, "POST", "/predict", body, content_type="text/csv")
    assert answer.status == 422
    assert [(each["line"], each["code"]) for each in said(answer)["errors"]] == [
        (3, "not_a_number"),
        (4, "too_few_cells"),
    ]


def test_a_file_is_predicted_row_by_row(app: App) -> None:
    body = b"new_user;age;note;total_pages_visited\r\n0;45;a;5\r\n0;x;b;5\r\n1;25;c;29\r\n\r\n0;45\r\n"
    document = said(ask(app, "POST", "/predict_file", body, content_type="text/csv"))
    assert document["predictions"] == [0, None, 1, None]
    assert [(each["line"], each["column"], each["code"]) for each in document["rejected"]] == [
        (3, "age", "not_a_number"),
        (6, "", "too_few_cells"),
    ]
    assert set(document["model"]) == {"name", "version"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("first", ["", "sep=;\r\n"])
def test_files_as_spreadsheets_save_them(app: App, encoding: str, first: str) -> None:
    text = f"{first}note;age;new_user;total_pages_visited\r\nKöln €;45;0;5\r\nx;;0;5\r\n"
    body = text.encode(encoding)
    document = said(ask(app, "POST", "/predict_file", body, content_type="text/csv"))
    assert document["predictions"][0] is not None
    assert [each["line"] for each in document["rejected"]] == [text.count("\n")]
    answer = ask(app, "POST", "/predict_file", body, content_type="text/csv", accept="text/csv")
    head, row, _ = csv.reader(io.StringIO(answer.body.decode()))
    assert (head[:4], row[0]) == (["note", "age", "new_user", "total_pages_visited"], "Köln €")


def test_a_joined_file_keeps_every_row_and_cell(app: App) -> None:
    body = b'age,note,new_user,total_pages_visited\n045,"a, ""b""",0,5\nx,c,0,5\n46\n'
    answer = ask(app, "POST", "/predict_file", body, content_type="text/csv", accept="text/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["x-rows-rejected"] == "2"
    header, one, two, three = csv.reader(io.StringIO(answer.body.decode()))
    assert header == ["age", "note", "new_user", "total_pages_visited", "prediction", "probability"]
    assert one[:5] == ["045", 'a, "b"', "0", "5", "0"]
    assert two == ["x", "c", "0", "5", "", ""]
    assert three == ["46", "", "", "", "", ""]


@pytest.mark.parametrize("accept", ["application/json", "*/*", "", "text/csv;q=0.5, application/json"])
def test_json_is_the_answer_unless_csv_is_preferred(app: App, accept: str) -> None:
    answer = ask(app, "POST", "/predict_file", CSV, content_type="text/csv", accept=accept)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "parts",
    [
        [("file", "a.csv", CSV)],
        [("file", None, CSV)],
        [("file", 'C:\\x\\"quoted"; name="other".csv'.replace('"', "%22"), CSV)],
        [("comment", None, b"first"), ("file", "b.csv", CSV), ("more", "c.csv", b"x")],
    ],
)
def test_multipart_as_clients_send_it(app: App, parts: Any) -> None:
    body, content_type = multipart(*parts)
    answer = ask(app, "POST", "/predict_file", body, content_type=content_type)
    assert said(answer)["predictions"] == [0]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (multipart(("data", "a.csv", CSV))[0], multipart()[1], 400),
        (multipart(("file", "a.csv", CSV))[0][:-30], multipart()[1], 400),
        (multipart(("file", "a.csv", CSV))[0], "multipart/form-data", 400),
        (b"", multipart()[1], 400),
        (multipart(("file", "a.csv", b""))[0], multipart()[1], 400),
        (b"", "text/csv", 400),
        (b"\x1f\x8b\x08", "text/csv", 400),
        (b"age\n1\n", "text/csv", 422),
        (CSV, "application/x-www-form-urlencoded", 415),
        (CSV, "application/json", 415),
    ],
)
def test_files_that_cannot_be_read(app: App, body: bytes, content_type: str, status: int) -> None:
    answer = ask(app, "POST", "/predict_file", body, content_type=content_type)
    assert answer.status == status
    codes(answer)


@pytest.mark.parametrize("path", ["/predict", "/predict_file"])
def test_curl_that_takes_the_line_ends_out_is_told_of_data_binary(app: App, path: str) -> None:
    form = "application/x-www-form-urlencoded"
    answer = ask(app, "POST", path, CSV.replace(b"\n", b""), content_type=form)
    assert (answer.status, "--data-binary @f.csv" in said(answer)["detail"]) == (415, True)


def test_parameters_may_be_null_beside_instances(app: App) -> None:
    answer = ask(app, "POST", "/predict", {"instances": [GOOD], "parameters": None})
    assert len(said(answer)["predictions"]) == 1
    for wrong in ({"x": 1}, 0, False, "", [None]):
        answer = ask(app, "POST", "/predict", {"instances": [GOOD], "parameters": wrong})
        assert codes(answer) == [("parameters", "unknown_field")]


PACKED = {"gzip": gzip.compress, "x-gzip": gzip.compress, "GZIP ": gzip.compress, "deflate": zlib.compress,
          "identity": bytes}  # fmt: skip


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [("/predict", "application/json", json.dumps([GOOD]).encode()), ("/predict", "text/csv", CSV),
     ("/predict_file", "text/csv", CSV),
     ("/predict_file", multipart()[1], multipart(("file", "a.csv", CSV))[0])],
)  # fmt: skip
def test_a_packed_body_is_read(app: App, coding: str, path: str, content_type: str, body: bytes) -> None:
    packed = PACKED[coding](body)
    answer = ask(app, "POST", path, packed, content_type=content_type, content_encoding=coding)
    assert (answer.status, len(said(answer)["predictions"])) == (200, 1)


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", CSV, 400),
        ("gzip", gzip.compress(CSV, mtime=0)[:-9], 400),
        ("gzip", gzip.compress(CSV, mtime=0) + b"x", 400),
        ("gzip", gzip.compress(b"", mtime=0)[:5], 400),
        ("br", CSV, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(CSV, mtime=0), mtime=0), 415),
    ],
)
def test_a_packed_body_that_cannot_be_read(app: App, coding: str, body: bytes, status: int) -> None:
    answer = ask(app, "POST", "/predict_file", body, content_type="text/csv", content_encoding=coding)
    assert (answer.status, codes(answer)) == (status, [])
    assert answer.headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)


@pytest.mark.slow
def test_a_packed_body_is_unpacked_to_the_limit(model: Model) -> None:
    bomb = gzip.compress(b"\n" * 300_000_000, 9)
    tracemalloc.start()
    app = App(model, Settings(max_body_bytes=1_000_000))
    answer = ask(app, "POST", "/predict", bomb, content_type="text/csv", content_encoding="gzip")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (answer.status, peak < 10_000_000) == (413, True)


def test_a_query_needs_no_body_to_unpack(app: App) -> None:
    assert ask(app, "GET", "/predict", query=GOOD, content_encoding="br").status == 200


def test_curl_without_a_header_is_told_which_one(app: App) -> None:
    form = "application/x-www-form-urlencoded"
    answer = ask(app, "POST", "/predict", json.dumps(GOOD).encode(), content_type=form)
    assert (answer.status, "-H 'content-type: application/json'" in said(answer)["detail"]) == (415, True)


def test_a_header_only_file_has_no_rows(app: App) -> None:
    document = said(ask(app, "POST", "/predict_file", CSV[:33], content_type="text/csv"))
    assert (document["predictions"], document["rejected"]) == ([], [])


def test_a_body_over_the_limit_is_shown_the_batch_path(model: Model) -> None:
    app = App(model, Settings(max_body_bytes=50))
    for request in (
        Request("POST", "/predict_file", headers={"content-type": "text/csv"}, body=CSV * 2),
        Request("POST", "/predict", headers={"content-type": "application/json"}, size=51),
    ):
        answer = app.handle(request)
        assert answer.status == 413
        assert "batch" in said(answer)["detail"]


def test_an_answer_over_the_platforms_limit_is_an_error_and_not_a_platform_failure(app: App) -> None:
    request = Request("POST", "/predict", headers={"content-type": "application/json"}, most=2000)
    assert app.handle(request._replace(body=json.dumps([GOOD] * 5).encode())).status == 200
    answer = app.handle(request._replace(body=json.dumps([GOOD] * 50).encode()))
    assert answer.status == 413
    assert "the answer" in said(answer)["detail"]


def test_an_answer_names_what_lies_outside(app: App, model: Model) -> None:
    assert model.program is not None
    low, high = model.manifest.features[0].minimum, model.manifest.features[2].maximum
    assert low is not None
    assert high is not None
    inside = {"age": low, "new_user": 0, "total_pages_visited": high}
    outside = {"age": low - 1, "new_user": 0, "total_pages_visited": high + 1}
    expected = ["age", "total_pages_visited"]
    assert "outside" not in said(ask(app, "GET", "/predict", query={k: int(v) for k, v in inside.items()}))
    assert said(ask(app, "POST", "/predict", outside))["outside"] == expected
    assert app.handle(outside)["outside"] == expected  # a direct invoke
    for count in (2, 40):  # by the one-row program, and by the graph
        both = said(ask(app, "POST", "/predict", [inside, outside] * count))["predictions"]
        assert [each.get("outside") for each in both] == [None, expected] * count
        lines = [",".join(str(int(value)) for value in each.values()) for each in (inside, outside) * count]
        body = "\n".join([",".join(inside), *lines]).encode()
        same = said(ask(app, "POST", "/predict", body, content_type="text/csv"))["predictions"]
        assert [each.get("outside") for each in same] == [None, expected] * count


def test_an_unknown_category_lies_outside_and_a_missing_value_does_not(mixed_model: Model) -> None:
    app = App(mixed_model, Settings())
    record = {**mixed_model.manifest.golden[0]["record"], "living area": None, "heating": None}
    assert "outside" not in said(ask(app, "POST", "/predict", record))
    record |= {"Straße": "Århus", "living area": 1e6}
    assert said(ask(app, "POST", "/predict", record))["outside"] == ["living area", "Straße"]
    record["Straße"] = "Oslo"
    assert said(ask(app, "POST", "/predict", record))["outside"] == ["living area"]


def test_a_file_has_its_probabilities_beside_its_predictions(app: App) -> None:
    body = b"age,new_user,total_pages_visited\n45,0,5\nold,1,2\n22,1,25\n"
    document = said(ask(app, "POST", "/predict_file", body, content_type="text/csv"))
    first, rejected, last = document["probabilities"]
    assert first == pytest.approx(said(ask(app, "POST", "/predict", GOOD))["probabilities"])
    assert rejected is None
    assert list(last) == ["0", "1"]
    assert list(document) == ["predictions", "probabilities", "rejected", "model"]


@pytest.mark.parametrize("most", [5_000, 20_000])
def test_a_file_has_no_probabilities_where_they_would_be_too_large(app: App, most: int) -> None:
    body = b"age,new_user,total_pages_visited\n" + b"45,0,5\n" * 1000
    request = Request("POST", "/predict_file", headers={"content-type": "text/csv"}, body=body)
    assert "probabilities" in said(app.handle(request))
    answer = app.handle(request._replace(most=most))
    assert (answer.status, said(answer)["predictions"]) == (200, [0] * 1000)
    assert "probabilities" not in said(answer)


def test_the_root_is_the_page_for_people(app: App) -> None:
    plain = ask(app, "GET", "/")
    assert (plain.status, plain.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b'href="page.css"' in plain.body
    assert b'src="page.js"' in plain.body
    assert b'"/' not in plain.body
    assert "unsafe" not in plain.headers["content-security-policy"]
    packed = ask(app, "GET", "/", accept_encoding="gzip")
    assert gzip.decompress(packed.body) == plain.body
    for route, kind in (("page.js", "text/javascript"), ("page.css", "text/css")):
        answer = ask(app, "GET", f"/prod/{route}")
        assert (answer.status, answer.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
        assert answer.headers["content-security-policy"] == plain.headers["content-security-policy"]
    refused = ask(app, "POST", "/")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("folder", ["/prod/", "/a/b/", "/é b/", "//evil.example/"])
def test_a_browser_gets_the_page_at_any_folder(app: App, folder: str) -> None:
    """A load balancer's rule may stand for the root; a program is told of the routes."""
    assert ask(app, "GET", folder, **BROWSER).body == ask(app, "GET", "/").body
    assert ask(app, "GET", folder).status == 404
    assert ask(app, "POST", folder, **BROWSER).status == 404
    bare = ask(app, "GET", folder.rstrip("/"), **BROWSER)
    assert bare.status == 302
    assert bare.headers["location"] == f"./{quote(folder.split('/')[-2])}/"


@pytest.mark.parametrize("path", ["/..", "/%2e%2e", "/a\nb", "/%0d%0ax", "/v2/models/m", "/" + "a" * 9000])
def test_a_browser_is_led_nowhere_from_other_paths(app: App, path: str) -> None:
    assert ask(app, "GET", path, **BROWSER).status == 404


@pytest.mark.parametrize(("whole", "location"), [("/prod", "./prod/"), ("/prod/", None)])
def test_a_stage_of_api_gateway_is_the_page(app: App, whole: str, location: str | None) -> None:
    event = {"httpMethod": "GET", "path": "/", "headers": {}, "requestContext": {"path": whole}}
    reply = app.handle({**event, "queryStringParameters": None, "body": None, "isBase64Encoded": False})
    assert reply["headers"].get("location") == location
    assert reply["statusCode"] == (302 if location else 200)


def test_swagger_has_two_names(app: App) -> None:
    assert ask(app, "GET", "/docs").body == ask(app, "GET", "/apidocs").body
    assert ask(app, "GET", "/prod/docs/").headers["location"] == "../docs"


def test_unknown_routes_and_methods(app: App) -> None:
    answer = ask(app, "GET", "/nowhere")
    assert (answer.status, "/predict_file" in said(answer)["detail"]) == (404, True)
    answer = ask(app, "DELETE", "/predict")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST, HEAD, OPTIONS")
    answer = ask(app, "OPTIONS", "/predict_file")
    assert (answer.status, answer.headers["allow"], answer.body) == (204, "POST, OPTIONS", b"")


@pytest.mark.parametrize("path", ["/healthz", "/healthz/", "/prod/healthz", "/a/b/healthz"])
def test_what_stands_before_the_route_belongs_to_the_platform(app: App, model: Model, path: str) -> None:
    document = said(ask(app, "GET", path))
    assert document == {"status": "ok", "model": {"name": "sales", "version": model.manifest.version}}


@pytest.mark.parametrize(
    "path",
    ["/v2/models/model", "/v2/models/healthz/", "/prod/v2/models/model", "/v1/models/model",
     "/v2/models/m/model",
     "/v2/models/m/versions/model", "/v2/models/m/versions/1/model"],
)  # fmt: skip
def test_the_paths_of_the_inference_protocols_are_no_base_paths(app: App, path: str) -> None:
    assert ask(app, "GET", path).status == 404


@pytest.mark.parametrize(
    "path", ["/v1/healthz", "/v2/healthz", "/models/healthz", "/v2/models/a/b/c/d/healthz"]
)
def test_a_base_path_may_be_a_version(app: App, path: str) -> None:
    assert ask(app, "GET", path).status == 200


FOREIGN = ["/\\evil.example", "/%5Cevil.example", "//evil.example", "/%2F%2Fevil.example",
           "///evil.example",
           "/\t/evil.example", "/%09//evil.example", "/\n\\evil.example", "/x/..//evil.example",
           "/%2e%2e//evil.example", "/.\\evil.example", "/\u2028/evil.example", "/https://evil.example",
           "/\\\\evil.example", "/@evil.example", "/{scheme}://evil.example",
           "/" + "a" * 100_000]  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "/", "/prod", "\\", "//evil.example"])
@pytest.mark.parametrize("folder", FOREIGN, ids=range(len(FOREIGN)))
def test_the_document_names_no_other_server(app: App, folder: str, prefix: str) -> None:
    request = Request("GET", f"{folder}/openapi.json", prefix=prefix)
    (server,) = said(app.handle(request))["servers"]
    assert re.fullmatch(r"/([\w.~%@:-]+(/[\w.~%@:-]+)*)?", server["url"], re.ASCII)
    assert not re.search(r"%5c|%0|%2[fF]|/\.\.?(/|$)", server["url"], re.IGNORECASE)
    assert len(server["url"]) < 4000


def test_a_base_path_in_another_alphabet_is_the_documents_server(app: App) -> None:
    for path in ("/é b/openapi.json", "/%C3%A9%20b/openapi.json"):
        (server,) = said(ask(app, "GET", path))["servers"]
        assert server["url"] == "/%C3%A9%20b"


def test_the_model_page_is_the_manifest_without_file_hashes(app: App, model: Model) -> None:
    document = said(ask(app, "GET", "/model"))
    assert "files" not in document
    assert document["features"][0]["name"] == "age"
    assert document["version"] == model.manifest.version


def test_swagger_is_sent_compressed_and_points_beside_itself(app: App) -> None:
    packed = ask(app, "GET", "/prod/apidocs", accept_encoding="gzip, br")
    assert packed.headers["content-encoding"] == "gzip"
    plain = ask(app, "GET", "/apidocs")
    assert "content-encoding" not in plain.headers
    assert b"<html" in plain.body
    assert b'"/' not in plain.body.replace(b'"//', b"")
    slash = ask(app, "GET", "/prod/apidocs/")
    assert (slash.status, slash.headers["location"]) == (308, "../apidocs")
    server = said(app.handle(Request("GET", "/openapi.json", prefix="/prod")))["servers"][0]["url"]
    assert server == "/prod"


def test_cors_is_off_unless_configured(app: App, model: Model) -> None:
    asked = Request(
        "OPTIONS",
        "/predict",
        headers={"origin": "https://a.example", "access-control-request-method": "POST"},
    )
    assert not any(name.startswith("access-control") for name in app.handle(asked).headers)
    open_app = App(model, Settings(cors_origins=("https://a.example",)))
    assert open_app.handle(asked).headers["access-control-allow-origin"] == "https://a.example"
    assert "POST" in open_app.handle(asked).headers["access-control-allow-methods"]
    stranger = asked._replace(headers={**asked.headers, "origin": "https://b.example"})
    assert "access-control-allow-origin" not in open_app.handle(stranger).headers


def test_every_kind_of_feature_through_every_door(mixed_model: Model) -> None:
    app = App(mixed_model, Settings())
    record = {
        "living area": None,
        "no.rooms": 3,
        "garden": True,
        "Straße": "東京",
        "heating": "",
        "âge": 12.5,
    }
    first = said(ask(app, "POST", "/predict", record))
    assert set(first["probabilities"]) == {"low", "middle", "high"}
    text = {name: "" if value is None else str(value) for name, value in record.items()}
    for spelled in ("true", "1", "yes", "Y"):
        query = {**text, "garden": spelled}
        assert said(ask(app, "GET", "/predict", query=query)) == first
    for spelled_json in (1, "yes", "true"):
        assert said(ask(app, "POST", "/predict", {**record, "garden": spelled_json})) == first
    for wrong, code in ((2, "not_a_boolean"), ("maybe", "not_a_boolean"), (None, "missing")):
        assert codes(ask(app, "POST", "/predict", {**record, "garden": wrong})) == [("garden", code)]
    assert codes(ask(app, "POST", "/predict", {**record, "Straße": 5})) == [("Straße", "not_a_string")]
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(text))
    writer.writeheader()
    writer.writerow(text)
    joined = ask(
        app, "POST", "/predict_file", sink.getvalue().encode(), content_type="text/csv", accept="text/csv"
    )
    (row,) = csv.DictReader(io.StringIO(joined.body.decode()))
    assert row["prediction"] == first["prediction"]
    assert float(row["probability_low"]) == first["probabilities"]["low"]


@pytest.mark.slow
def test_a_regression_has_a_value_and_no_probabilities(regression_model: Model) -> None:
    record = regression_model.manifest.golden[0]["record"]
    answer = said(ask(App(regression_model, Settings()), "POST", "/predict", record))
    assert set(answer) == {"prediction", "model"}
    assert isinstance(answer["prediction"], float)


def test_a_joblib_model_answers_alike(joblib_model: Model) -> None:
    assert joblib_model.manifest.runtime == "joblib"
    app = App(joblib_model, Settings())
    assert said(ask(app, "POST", "/predict", GOOD))["prediction"] in (0, 1)
    assert (
        len(said(ask(app, "POST", "/predict_file", CSV * 1, content_type="text/csv"))["predictions"]) == 1
    )


def test_a_bug_answers_500_without_a_trace_and_logs_no_value(
    model: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def score(self, columns: Any) -> Any:
            raise ValueError(f"could not convert {columns['age'][0]}")

    from handler import telemetry

    telemetry.configure(Settings())
    answer = ask(
        App(Model.of(model.manifest, Broken()), Settings()), "POST", "/predict", {**GOOD, "age": 31337}
    )
    assert (answer.status, codes(answer)) == (500, [])
    log = capfd.readouterr().err
    assert "31337" not in answer.body.decode() + log
    assert "ValueError" in log
    assert "test_api.py" in log


def test_the_log_line_of_a_request(model: Model, capfd: pytest.CaptureFixture[str]) -> None:
    from handler import telemetry

    telemetry.configure(Settings(platform="lambda"))
    app = App(model, Settings())
    event = {"instances": [GOOD, GOOD]}
    app.handle(event, "id-1")
    app.handle(event, "id-2")
    first, second = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert first["severity"] == "INFO"
    assert (first["request_id"], first["route"], first["status"], first["rows"]) == (
        "id-1",
        "invoke",
        200,
        2,
    )
    assert (first["cold_start"], second["cold_start"]) == (True, False)
    assert first["model_version"] == model.manifest.version
    assert first["milliseconds"] > 0


def test_base64_that_is_none_is_a_bad_request(app: App) -> None:
    event = {
        "version": "2.0", "rawPath": "/predict", "rawQueryString": "", "headers": {},
        "requestContext": {"http": {"method": "POST"}}, "body": "%%%", "isBase64Encoded": True,
    }  # fmt: skip
    assert app.handle(event)["statusCode"] == 400
    good = {**event, "headers": {"Content-Type": "application/json"},
            "body": base64.b64encode(json.dumps(GOOD).encode()).decode()}  # fmt: skip
    assert app.handle(good)["statusCode"] == 200


def counted(answer: Answer) -> tuple[int, int]:
    """The problems that an answer lists, and those that it counts beyond them."""
    document = said(answer)
    return len(document["errors"]), document.get("more", 0)


def test_an_error_lists_a_hundred_problems_and_counts_the_rest(app: App) -> None:
    three_missing = {"unknown": 1}
    for body, problems in (
        ([0] * 100, 100),
        ([0] * 250_000, 250_000),
        ([three_missing] * 50, 200),
        ([{**GOOD, "age": "x"}, GOOD, None, {}] * 1000, 5000),
        ({"instances": [], **{f"n{each}": 0 for each in range(500)}}, 500),
        ({**GOOD, **{f"n{each}": 0 for each in range(500)}}, 500),
    ):
        answer = ask(app, "POST", "/predict", body)
        assert answer.status == 422
        listed, more = counted(answer)
        assert (listed, listed + more) == (min(problems, 100), problems)
        assert len(answer.body) < 50_000
    with_repeats = b'{"age": 1, ' + b'"x": 1, ' * 500 + b'"y": 1}'
    answer = ask(app, "POST", "/predict", with_repeats, content_type="application/json")
    assert counted(answer) == (100, 399)
    query = [("age", "1")] * 301
    assert counted(ask(app, "GET", "/predict", query=query)) == (100, 202)
    rows = CSV + b"45,0\n" * 3000
    assert counted(ask(app, "POST", "/predict", rows, content_type="text/csv")) == (100, 2900)


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "other"]),
        st.sampled_from([1, 1.5, None, True, "1", [], {}, 2**60, 10**400, float("nan")]),
    )
)
def test_a_problem_counts_whether_it_is_listed_or_not(model: Model, record: dict[str, Any]) -> None:
    full, listed = Problems(), Problems()
    for _ in range(100):
        full.add("", "", "")
    assert model.schema.judge_json(record, full) is None
    model.schema.judge_json(record, listed)
    assert full.more == len(listed.listed)


def test_an_error_keeps_the_limit_of_an_answer(app: App) -> None:
    body = json.dumps([{"\x01" * 100: 0}] * 1000).encode()
    for most in (5_000, 20_000, 200_000):
        request = Request(
            "POST", "/predict", headers={"content-type": "application/json"}, body=body, most=most
        )
        answer: Answer = app.handle(request)
        assert answer.status == 422
        assert len(json.dumps(answer.body.decode(), ensure_ascii=False)) <= most
        assert sum(counted(answer)) == 4000


def test_long_names_are_cut_and_looked_up_in_vain(app: App) -> None:
    names = {f"{'pages' * 50_000}{each}": 1 for each in range(10)}
    answer = ask(app, "POST", "/predict", {**GOOD, **names})
    assert counted(answer) == (10, 0)
    assert len(answer.body) < 10_000
    near = ask(app, "POST", "/predict", {**GOOD, **{f"new_usr{each}": 1 for each in range(50)}})
    assert near.body.count(b"did you mean") == 2 * 5  # in the detail, and in the errors


@pytest.mark.parametrize(
    "text",
    ["1" * 200_000 + "x", "1" * 200_000, "." * 200_000, "1e" * 100_000, "+" * 200_000],
    ids=["digits and a letter", "digits", "points", "exponents", "signs"],
)
def test_a_long_text_for_a_number_is_refused_at_once(app: App, text: str) -> None:
    query = {"age": text, "new_user": text, "total_pages_visited": "5"}
    assert codes(ask(app, "GET", "/predict", query=query)) == [
        ("age", "not_a_number"),
        ("new_user", "not_a_number"),
    ]
    rows = f"age,new_user,total_pages_visited\n45,0,5\n{text},0,5\n".encode()
    (rejected,) = said(ask(app, "POST", "/predict_file", rows, content_type="text/csv"))["rejected"]
    assert (rejected["line"], rejected["code"]) == (3, "not_a_number")
    assert bool(re.fullmatch(NUMBER, text)) is is_number(text) is (set(text) == {"1"})


@pytest.mark.parametrize(
    "text", ['age,new_user,total_pages_visited,"note\n45,0,5,a\n25,1,12,b\n',
             'age,new_user,total_pages_visited,"note\n45,0,5,a\n25,1,12,"b\n45,0,5,c\n',
             '"age,new_user,total_pages_visited\n45,0,5\n']
)  # fmt: skip
def test_a_quote_that_the_header_leaves_open_is_refused(app: App, text: str) -> None:
    for path in ("/predict", "/predict_file"):
        answer = ask(app, "POST", path, text.encode(), content_type="text/csv")
        assert (answer.status, codes(answer)) == (400, [("file", "unclosed_quote")])
