"""The OpenAPI document says of each model what its routes take, and the page's files are there."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest

from handler.app import App
from handler.bundle import Bundle
from handler.errors import InvalidRecords, RequestTooSlow
from handler.faults import ServerBusy
from handler.manifest import Feature, Manifest
from handler.schema import BOOLEANS, Schema
from handler.scoring.model import Model
from handler.settings import Settings
from handler.web import components, openapi, pages
from handler.web.messages import CODINGS, Request, problem

BUNDLES = ("bundle_dir", "mixed_dir", "regression_dir", "joblib_dir", "anomaly_dir", "cluster_dir")
AGE = Feature("age", "integer", minimum=17, maximum=123)
PRICE = Feature("price", "number", nullable=True, minimum=0.5, maximum=99.25)
MEMBER = Feature("member", "boolean")
CITY = Feature("city", "category", categories=("Oslo", "Rome"))
SHOP = Feature("shop", "category", nullable=True, categories=("Rome", "web"), open=True)


def manifest(*features: Feature, golden: tuple[dict[str, Any], ...] = (), **others: Any) -> Manifest:
    """A manifest with these features."""
    return Manifest(
        **{
            "name": "shop",
            "version": "0123456789ab",
            "created": "2026-01-31T12:00:00+00:00",
            "task": "binary",
            "features": features,
            "target": "converted",
            "classes": (0, 1),
            "metrics": {},
            "runtime": "onnx",
            "parity": {},
            "libraries": {},
            "training": {},
            "files": {},
            "golden": golden,
            **others,
        }
    )


def described(*features: Feature, **others: Any) -> dict[str, Any]:
    return openapi.document(manifest(*features, **others), "/")


def record_schema(*features: Feature) -> dict[str, Any]:
    record: dict[str, Any] = described(*features)["components"]["schemas"]["Record"]
    return record


def takes(feature: Feature, value: object) -> bool:
    """Whether the document lets the feature have this JSON value."""
    return jsonschema.Draft202012Validator(record_schema(feature)).is_valid({feature.name: value})


@pytest.fixture(params=BUNDLES)
def trained(request: pytest.FixtureRequest) -> Manifest:
    folder: Path = request.getfixturevalue(request.param)
    return Bundle.open(folder).manifest


def test_a_trained_models_document_is_valid(trained: Manifest) -> None:
    openapi_spec_validator.validate(openapi.document(trained, "/prod"))


def test_a_document_without_golden_rows_is_valid() -> None:
    openapi_spec_validator.validate(described(AGE, PRICE, MEMBER, CITY, SHOP))


def test_the_model_and_the_server_stand_in_the_document(trained: Manifest) -> None:
    document = openapi.document(trained, "/prod")
    assert document["info"]["title"] == trained.name
    assert document["info"]["version"] == trained.version
    assert trained.target in document["info"]["description"]
    assert document["servers"] == [{"url": "/prod"}]


def test_every_operation_has_a_name_a_tag_a_summary_and_its_errors(trained: Manifest) -> None:
    document = openapi.document(trained, "/")
    operations = [each for route in document["paths"].values() for each in route.values()]
    names = [each["operationId"] for each in operations]
    assert len(set(names)) == len(names) == (11 if "of" in trained.explanation else 9)
    tags = {tag["name"] for tag in document["tags"]}
    for operation in operations:
        assert set(operation["tags"]) <= tags
        assert operation["summary"]
        assert {"200", "500"} <= operation["responses"].keys()
        for status, response in operation["responses"].items():
            if status != "200":
                assert response == {"$ref": f"#/components/responses/{status}"}
                assert status in document["components"]["responses"]


def test_the_query_has_a_parameter_a_feature(trained: Manifest) -> None:
    parameters = openapi.document(trained, "/")["paths"]["/predict"]["get"]["parameters"]
    assert [each["name"] for each in parameters] == [each.name for each in trained.features]
    assert {each["in"] for each in parameters} == {"query"}
    assert [each["required"] for each in parameters] == [not each.nullable for each in trained.features]


def test_parameter_types_follow_the_kinds() -> None:
    features = (AGE, PRICE, MEMBER, CITY, SHOP)
    parameters = described(*features)["paths"]["/predict"]["get"]["parameters"]
    schemas = {each["name"]: each["schema"] for each in parameters}
    assert {name: schema["type"] for name, schema in schemas.items()} == {
        "age": "integer",
        "price": "number",
        "member": "string",
        "city": "string",
        "shop": "string",
    }
    assert schemas["member"]["enum"] == list(BOOLEANS)
    assert schemas["city"]["enum"] == ["Oslo", "Rome"]
    assert "enum" not in schemas["shop"]
    assert schemas["shop"]["examples"] == ["Rome", "web"]


def test_observed_ranges_are_told_and_not_enforced() -> None:
    parameters = described(AGE, PRICE)["paths"]["/predict"]["get"]["parameters"]
    assert "17 to 123" in parameters[0]["description"]
    assert "0.5 to 99.25" in parameters[1]["description"]
    assert takes(AGE, 200)
    assert takes(PRICE, -1)


def test_a_record_has_the_features_and_nothing_else() -> None:
    record = record_schema(AGE, PRICE, SHOP, CITY)
    assert list(record["properties"]) == ["age", "price", "shop", "city"]
    assert record["required"] == ["age", "city"]
    assert record["additionalProperties"] is False


VALUES = (
    *(None, True, False, 0, 1, 1.0, 2, -3, 4.5, 2**53 - 1, 2**53, -(2**53), 10**400, 3.5e38, -1e308),
    *("", " ", "0", "1", "yes", "N", "true", "2", "Oslo", "oslo", "web", "\x00", [], {}, ["Oslo"]),
)
#: Any letter case and blanks around are taken, and not worth an enum's while.
UNSAID = {("member", "N"), ("city", " ")}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("nullable", [False, True], ids=["required", "nullable"])
@pytest.mark.parametrize("kind", ["age", "price", "member", "city", "shop"])
def test_the_document_and_the_schema_take_the_same_values(kind: str, nullable: bool, value: object) -> None:
    given = {each.name: each for each in (AGE, PRICE, MEMBER, CITY, SHOP)}[kind]
    feature = Feature(given.name, given.kind, nullable, categories=given.categories, open=given.open)
    try:
        Schema([feature]).from_json({feature.name: value})
        taken = True
    except InvalidRecords:
        taken = False
    assert takes(feature, value) == (taken and (kind, value) not in UNSAID)


FEE = Feature("fee", "number", True, 0.5, 2000, format="1.234,5 €", missing_words=("na", "-"))
PLACE = Feature("place", "category", True, categories=("Rome",), open=True, missing_words=("na", "n/a"))


def test_a_spelled_number_is_a_number_in_json_and_a_text_in_the_query() -> None:
    golden = ({"record": {"fee": 1500.25, "place": "Rome"}, "prediction": 0},)
    document = described(FEE, PLACE, golden=golden)
    openapi_spec_validator.validate(document)
    fee, place = document["paths"]["/predict"]["get"]["parameters"]
    assert fee["schema"]["type"] == "string"
    assert fee["example"] == "1.500,25 €"
    assert "spelled as `1.234,5 €`" in fee["description"]
    assert "`na`, `-`" in fee["description"]
    assert "`na`, `n/a`" in place["description"]
    query = jsonschema.Draft202012Validator(fee["schema"])
    for text in (
        "1.234,5 €",
        "5",
        "\u22125 €",
        "€ 5,25",
        "",
        " NA ",
        "-",
        "1.5",
        "1,5,5",
        "nan",
        "x",
        "$5",
    ):
        try:
            Schema([FEE]).from_query([("fee", text)])
            taken = True
        except InvalidRecords:
            taken = False
        assert query.is_valid(text) == taken, text
    record = document["components"]["schemas"]["Record"]["properties"]
    assert record["fee"]["type"] == ["number", "null"]
    assert "`na`" not in record["fee"]["description"]
    assert "`na`, `n/a`" in record["place"]["description"]
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["text/csv"]
    assert body["example"] == 'fee,place\n"1.500,25 €",Rome\n'


def test_an_ignored_column_may_be_there_and_is_read_by_no_one() -> None:
    document = described(AGE, ignored=("note", "price"))
    openapi_spec_validator.validate(document)
    record = document["components"]["schemas"]["Record"]
    assert record["required"] == ["age"]
    assert record["properties"]["note"] == {"description": components.IGNORED}
    checked = jsonschema.Draft202012Validator(record)
    assert checked.is_valid({"age": 1, "note": ["x"], "price": None})
    assert not checked.is_valid({"age": 1, "notes": 1})
    parameters = document["paths"]["/predict"]["get"]["parameters"]
    assert [(each["name"], each.get("required", False)) for each in parameters] == [
        ("age", True),
        ("note", False),
        ("price", False),
    ]


def test_examples_are_golden_rows_that_fit_their_own_schemas(trained: Manifest) -> None:
    document = openapi.document(trained, "/")
    golden = trained.golden[0]
    for parameter in document["paths"]["/predict"]["get"]["parameters"]:
        value = golden["record"][parameter["name"]]
        if value is None:
            assert "example" not in parameter
        else:
            assert str(parameter["example"]).lower() == str(value).lower()
            jsonschema.validate(parameter["example"], parameter["schema"], jsonschema.Draft202012Validator)
    seen = 0
    for content in contents(document):
        examples = [each["value"] for each in content.get("examples", {}).values()]
        examples += [content["example"]] if "example" in content else []
        for example in examples:
            whole = {**content["schema"], "components": document["components"]}
            jsonschema.validate(example, whole, jsonschema.Draft202012Validator)
            seen += 1
    assert seen >= 13
    one = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"][
        "one"
    ]
    assert one["value"] == golden["record"]


def test_an_error_is_titled_as_the_document_says(bundle_dir: Path) -> None:
    app = App(Model.load(bundle_dir), Settings(max_body_bytes=100))
    csv_type, packed = {"content-type": "text/csv"}, {"content-encoding": "br"}
    asked = {
        400: Request("POST", "/predict", body=b"{"),
        413: Request("POST", "/predict", body=b" " * 101),
        415: Request("POST", "/predict_file", headers={**csv_type, **packed}, body=b"age"),
        422: Request("POST", "/predict", body=b"{}"),
    }
    answers = {status: app.handle(request) for status, request in asked.items()}
    assert [answer.status for answer in answers.values()] == list(asked)
    answers |= {408: problem(RequestTooSlow()), 503: problem(ServerBusy())}
    responses = json.loads(app.handle(Request("GET", "/openapi.json")).body)["components"]["responses"]
    for status, answer in answers.items():
        (content,) = responses[str(status)]["content"].values()
        assert content["example"]["title"] == json.loads(answer.body)["title"]


def test_a_body_may_be_slow_or_compressed(trained: Manifest) -> None:
    paths = openapi.document(trained, "/")["paths"]
    for path in ("/predict", "/predict_file"):
        operation = paths[path]["post"]
        assert {"400", "408", "413", "415", "422", "500", "503"} < operation["responses"].keys()
        assert all(coding in operation["description"] for coding in CODINGS)


def contents(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every media type object of a document: those of requests, answers and errors."""
    found = [each["content"] for each in document["components"]["responses"].values()]
    for route in document["paths"].values():
        for operation in route.values():
            found += [operation[key]["content"] for key in ("requestBody",) if key in operation]
            found += [each["content"] for each in operation["responses"].values() if "content" in each]
    return [content for each in found for content in each.values()]


def test_the_csv_example_reads_back_to_the_golden_rows(trained: Manifest) -> None:
    paths = openapi.document(trained, "/")["paths"]
    schema = Schema.of(trained)
    for path in ("/predict", "/predict_file"):
        text = paths[path]["post"]["requestBody"]["content"]["text/csv"]["example"]
        rows = [schema.from_cells(row) for row in csv.DictReader(io.StringIO(text))]
        golden = [schema.from_json(each["record"]) for each in trained.golden[: len(rows)]]
        assert list(map(repr, rows)) == list(map(repr, golden))  # a NaN equals no NaN
        assert rows


def test_a_feature_named_instances_leaves_no_second_meaning_to_the_name() -> None:
    golden = ({"record": {"instances": 3}, "prediction": 0, "probabilities": {"0": 0.9, "1": 0.1}},)
    document = described(Feature("instances", "integer"), golden=golden)
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert content["examples"].keys() == {"one", "several"}
    assert len(content["schema"]["oneOf"]) == 2


def test_predictions_are_the_classes_or_a_number() -> None:
    golden = ({"record": {"age": 30}, "prediction": "b", "probabilities": {"b": 0.5, "c": 0.5}},)
    texts = described(AGE, classes=("b", "c"), golden=golden)["components"]["schemas"]
    assert texts["Prediction"]["properties"]["prediction"] == {"type": "string", "enum": ["b", "c"]}
    assert texts["Prediction"]["properties"]["probabilities"]["required"] == ["b", "c"]
    label = {"type": ["string", "null"], "enum": ["b", "c", None]}
    assert texts["FilePredictions"]["properties"]["predictions"]["items"] == label

    golden = ({"record": {"age": 30}, "prediction": 1.5},)
    number = described(AGE, task="regression", classes=(), golden=golden)["components"]["schemas"]
    assert number["Prediction"]["properties"]["prediction"] == {"type": "number"}
    assert "probabilities" not in number["Prediction"]["properties"]


def test_synthetic_training_data_is_named() -> None:
    assert "synthetic" in described(AGE, training={"synthetic": True})["info"]["description"]
    assert "synthetic" not in described(AGE, training={"synthetic": False})["info"]["description"]


@pytest.mark.parametrize("route", sorted(pages.ASSETS))
def test_assets_are_gzip_and_named_by_content_type(route: str) -> None:
    content, content_type = pages.asset(route)
    assert gzip.decompress(content)
    assert content_type.endswith("; charset=utf-8")
    assert pages.asset(route)[0] is content


@pytest.mark.parametrize(
    ("route", "loaded"),
    [
        ("apidocs", {"swagger-ui.css", "swagger-ui-bundle.js", "apidocs.js", "openapi.json"}),
        ("", {"page.css", "page.js", "apidocs", "openapi.json"}),
    ],
)
def test_a_page_links_to_its_siblings_and_holds_no_script(route: str, loaded: set[str]) -> None:
    page = gzip.decompress(pages.asset(route)[0]).decode()
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    siblings = {link for link in links if not link.startswith("data:")}
    assert siblings == loaded
    assert not re.search(r"<script[^>]*>[^<]", page)


def test_swagger_ui_comes_with_its_licence_and_version() -> None:
    folder = pages.FOLDER / "swagger"
    assert re.fullmatch(r"swagger-ui-dist 5\.\d+\.\d+\n", (folder / "VERSION").read_text())
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "SmartBear" in (folder / "NOTICE").read_text()


def test_the_document_needs_no_heavy_import() -> None:
    code = "import json, sys, handler.web.openapi; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "polars", "onnxruntime", "pandas", "sklearn"} & set(json.loads(ran.stdout))
