"""The page at /apidocs in a real browser: a person opens it, tries a route out and reads the answer."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page

from tests.support.serving import serve

pytestmark = pytest.mark.browser

CUSTOMERS = b"age,new_user,total_pages_visited\n45,0,5\nold,1,2\n22,1,25\n"


def apidocs(page: Page, base: str) -> None:
    """Open the page and wait until it shows the routes."""
    page.goto(f"{base}/apidocs")
    page.locator(".opblock").first.wait_for()
    assert page.locator(".errors-wrapper").count() == 0


def try_out(page: Page, operation: str) -> Locator:
    """Open a route's panel and press "Try it out"."""
    panel = page.locator(f"[id$='-{operation}'].opblock")
    panel.locator(".opblock-summary-control").click()
    panel.get_by_role("button", name="Try it out").click()
    return panel


def execute(panel: Locator) -> tuple[str, str]:
    """Press "Execute"; returns the status and the body that the page shows."""
    for earlier in panel.get_by_role("button", name="Clear").all():
        earlier.click()
        panel.locator(".live-responses-table").wait_for(state="detached")
    panel.get_by_role("button", name="Execute").click()
    answer = panel.locator(".live-responses-table tr.response")
    answer.wait_for()
    status = answer.locator(".response-col_status").inner_text().strip()
    return status, answer.locator(".response-col_description .highlight-code code").first.inner_text()


def fetched(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


@pytest.mark.parametrize("prefix", ["", "/prod"])
def test_every_way_to_predict_works_from_the_page(
    page: Page, server: str, bundle_dir: Path, prefix: str, tmp_path: Path
) -> None:
    golden = json.loads((bundle_dir / "model.json").read_bytes())["golden"]
    apidocs(page, server + prefix)
    assert page.title() == "sales"

    panel = try_out(page, "predict")
    for name, value in golden[0]["record"].items():
        field = panel.locator(f"tr[data-param-name={name}]").locator("input, select")
        assert field.input_value() == str(value).lower()
    status, shown = execute(panel)
    assert status == "200"
    one = json.loads(shown)
    assert one["prediction"] == golden[0]["prediction"]
    assert one["model"] == fetched(f"{server}/healthz")["model"]
    requested = panel.locator(".request-url").inner_text()
    assert f"{server}{prefix}/predict?" in requested

    panel = try_out(page, "predict_many")
    assert json.loads(panel.locator("textarea").input_value()) == golden[0]["record"]
    status, shown = execute(panel)
    assert (status, json.loads(shown)) == ("200", one)

    panel = try_out(page, "predict_file")
    file = {"name": "customers.csv", "mimeType": "text/csv", "buffer": CUSTOMERS}
    panel.locator("input[type=file]").set_input_files(files=[file])
    status, shown = execute(panel)
    assert status == "200"
    answer = json.loads(shown)
    assert answer["predictions"] == [0, None, 1]
    assert [reject["line"] for reject in answer["rejected"]] == [3]

    picture = tmp_path / "apidocs.png"
    page.screenshot(path=picture, full_page=True)
    assert picture.stat().st_size > 50_000


def test_the_page_sends_several_records_and_csv(page: Page, server: str) -> None:
    apidocs(page, server)
    panel = try_out(page, "predict_many")
    panel.locator(".examples-select select").first.select_option("several")
    status, shown = execute(panel)
    assert status == "200"
    several = json.loads(shown)["predictions"]
    assert len(several) > 1
    panel.locator(".body-param-content-type select").select_option("text/csv")
    status, shown = execute(panel)
    assert status == "200"
    assert json.loads(shown)["predictions"] == several


def test_the_page_gives_the_file_back_as_csv(page: Page, server: str) -> None:
    apidocs(page, server)
    panel = try_out(page, "predict_file")
    file = {"name": "customers.csv", "mimeType": "text/csv", "buffer": CUSTOMERS}
    panel.locator("input[type=file]").set_input_files(files=[file])
    panel.locator("[data-code='200'] select").first.select_option("text/csv")
    status, shown = execute(panel)
    assert status == "200"
    lines = shown.splitlines()
    assert lines[0] == "age,new_user,total_pages_visited,prediction,probability"
    assert lines[1].startswith("45,0,5,0,")
    assert lines[2] == "old,1,2,,"


def test_awkward_names_and_missing_values_pass_through_the_page(page: Page, mixed_dir: Path) -> None:
    golden = json.loads((mixed_dir / "model.json").read_bytes())["golden"]
    with serve(mixed_dir) as base:
        apidocs(page, base)
        panel = try_out(page, "predict")
        status, shown = execute(panel)
        assert (status, json.loads(shown)["prediction"]) == ("200", golden[0]["prediction"])
        panel.locator("tr[data-param-name='living area'] input[type=text]").fill("")
        status, shown = execute(panel)
        assert status == "200"
        panel.locator("tr[data-param-name=Straße] input[type=text]").fill("Århus & Øst")
        status, shown = execute(panel)
        assert status == "200"
        assert json.loads(shown)["prediction"] in {"low", "middle", "high"}


def test_the_page_stays_whole_behind_a_trailing_slash(page: Page, server: str) -> None:
    page.goto(f"{server}/prod/apidocs/")
    page.locator(".opblock").first.wait_for()
    assert page.url == f"{server}/prod/apidocs"
