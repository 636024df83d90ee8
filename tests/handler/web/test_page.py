"""The page for people in a real browser: typing, keys alone, a file, a phone, and hostile names."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from handler.__main__ import main
from handler.dates import parse
from handler.manifest_rules import parsed
from tests.support.bundles import resealed, trained
from tests.support.serving import serve

pytestmark = pytest.mark.browser

CUSTOMERS = b"age,new_user,total_pages_visited\n45,0,5\nold,1,2\n22,1,25\n"
HOSTILE = "<img src=x onerror=\"alert('name')\">"


def opened(page: Page, address: str) -> None:
    """Open the page, and wait until it shows a prediction."""
    page.goto(address)
    expect(page.locator("#label")).not_to_have_text("…")


def field(page: Page, name: str) -> Locator:
    return page.get_by_label(name, exact=True)


def asked(base: str, route: str = "predict", /, **record: Any) -> Any:
    """The prediction of a record, asked for without the page."""
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{base}/{route}", json.dumps(record).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


@pytest.mark.parametrize("path", ["/", "/prod/", "/prod", "/a/b"])
def test_typing_changes_the_prediction(page: Page, server: str, path: str) -> None:
    opened(page, server + path)
    assert page.url == f"{server}{path.rstrip('/')}/"
    assert page.title() == "sales"
    for pages in (5, 20):
        field(page, "age").fill("30")
        field(page, "new_user").fill("1")
        field(page, "total_pages_visited").fill(str(pages))
        one = asked(server, age=30, new_user=1, total_pages_visited=pages)
        share = one["probabilities"]["1"]
        expect(page.locator("#bars li").nth(1)).to_have_text(f"1{percent(share)}")
        expect(page.locator("#label")).to_have_text(str(one["prediction"]))
        expect(page.locator("#said")).to_contain_text(f"Predicted converted: {one['prediction']}, ")
    assert re.search(r"width: \d\d\.", page.locator("#bars i").nth(1).get_attribute("style") or "")


def test_the_page_says_what_the_model_is(page: Page, server: str, bundle_dir: Path) -> None:
    manifest = parsed(json.loads((bundle_dir / "model.json").read_bytes()))
    opened(page, server)
    expect(page.locator("#about")).to_have_text("Predicts converted from 3 fields")
    expect(page.locator("#version")).to_contain_text(manifest.version)
    expect(page.locator("#synthetic")).to_be_hidden()
    links = [link.get_attribute("href") for link in page.locator("#links a").all()]
    assert links == ["report", "card", "apidocs", "model"]
    for name, value in manifest.golden[0]["record"].items():
        assert field(page, name).input_value() == str(value)
    page.get_by_role("button", name="Another example").click()
    for name, value in manifest.golden[1]["record"].items():
        assert field(page, name).input_value() == str(value)


def test_the_sample_says_that_it_is_one(page: Page, bundle_dir: Path, tmp_path: Path) -> None:
    sample = resealed(bundle_dir, tmp_path, lambda document: document["training"].update(synthetic=True))
    with serve(sample) as base:
        opened(page, base)
        expect(page.locator("#synthetic")).to_contain_text("synthetic data")


def test_an_error_stands_at_its_field(page: Page, server: str) -> None:
    opened(page, server)
    age = field(page, "age")
    for text, words in (("4.5", "whole number"), ("", "missing"), ("1e300", "must lie between")):
        age.fill(text)
        expect(page.locator("#field-0-error")).to_contain_text(words)
        expect(age).to_have_attribute("aria-invalid", "true")
        expect(age).to_have_accessible_description(re.compile(words))
        expect(page.locator("#said")).to_have_text("No prediction. See age.")
    age.fill("45")
    expect(page.locator("#field-0-error")).to_be_hidden()
    expect(age).to_have_attribute("aria-invalid", "false")
    expect(page.locator("#problem")).to_be_hidden()


def test_what_lies_outside_is_marked(page: Page, server: str, bundle_dir: Path) -> None:
    feature = json.loads((bundle_dir / "model.json").read_bytes())["features"][0]
    opened(page, server)
    field(page, "age").fill("300")
    words = f"Outside of what the model was trained on: {feature['minimum']:g} to {feature['maximum']:g}"
    expect(page.locator("#field-0-outside")).to_have_text(words)
    expect(page.locator("#beyond")).to_have_text("Outside of what the model was trained on: age")
    field(page, "age").fill("30")
    expect(page.locator("#field-0-outside")).to_be_hidden()
    expect(page.locator("#beyond")).to_be_hidden()


def test_the_last_answer_wins(page: Page, server: str) -> None:
    """The answer to an earlier record comes later, and is not shown."""
    opened(page, server)
    held: list[Any] = []

    def hold_first(route: Any) -> None:
        if held:
            route.continue_()
        held.append(route)

    page.route("**/predict", hold_first)
    field(page, "total_pages_visited").fill("25")
    expect(page.locator("#call")).to_contain_text('"total_pages_visited":25')
    field(page, "total_pages_visited").fill("1")
    expect(page.locator("#label")).to_have_text("0")
    held[0].fulfill(json={"prediction": 1, "probabilities": {"0": 0.0, "1": 1.0}})
    expect(page.locator("#label")).to_have_text("0")
    expect(page.locator("#problem")).to_be_hidden()


def test_keys_alone_suffice(page: Page, server: str) -> None:
    opened(page, server)
    names = []
    for _ in range(11):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert names == [
        "Report", "Card", "API", "Manifest", "example", "field-0", "field-1", "field-2", "threshold",
        "file", "copy",
    ]  # fmt: skip
    age = field(page, "age")
    age.focus()
    before = int(age.input_value())
    page.keyboard.press("ArrowUp")
    assert age.input_value() == str(before + 1)
    expect(page.locator("#call")).to_contain_text(f'"age":{before + 1}')
    page.locator("#threshold").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#at")).to_have_text("0.51")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#at")).to_have_text("0.5")


def test_the_threshold_moves_the_label(page: Page, server: str) -> None:
    opened(page, server)
    for name, value in (("age", 21), ("new_user", 1), ("total_pages_visited", 7)):
        field(page, name).fill(str(value))
    share = asked(server, age=21, new_user=1, total_pages_visited=7)["probabilities"]["1"]
    expect(page.locator("#bars li").nth(1)).to_contain_text(percent(share))
    expect(page.locator("#meaning")).to_contain_text("The model's own threshold: 0.5")
    for at in (share / 2, (1 + share) / 2, share):
        page.locator("#threshold").fill(str(at))
        held = float(page.locator("#threshold").input_value())  # the browser rounds the last digit
        assert abs(held - at) < 1e-12
        expect(page.locator("#label")).to_have_text(str(int(share >= held)))
    page.get_by_role("button", name="The model's own").click()
    expect(page.locator("#label")).to_have_text(str(int(share >= 0.5)))


def test_the_command_line_asks_for_the_same(page: Page, server: str) -> None:
    opened(page, f"{server}/prod/")
    field(page, "age").fill("33")
    expect(page.locator("#call")).to_contain_text('"age":33')
    shown = page.locator("#call").inner_text()
    assert shown.startswith(f"curl '{server}/prod/predict' \\\n")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copy")).not_to_have_text("Copy")


def choose(page: Page, content: bytes, name: str = "customers.csv") -> None:
    page.locator("#file").set_input_files(files=[{"name": name, "mimeType": "text/csv", "buffer": content}])


def download(page: Page, words: str) -> tuple[str, str]:
    """The name and the content of what a link downloads."""
    with page.expect_download() as started:
        page.get_by_role("link", name=words).click()
    path = started.value.path()
    return started.value.suggested_filename, path.read_text()


def test_a_file_comes_back_with_its_predictions_and_rejects(page: Page, server: str) -> None:
    opened(page, server)
    choose(page, CUSTOMERS)
    expect(page.locator("#outcome")).to_have_text("customers.csv: 3 rows, 2 predicted, 1 rejected.")
    head = page.locator("#rows th").all_inner_texts()
    assert head == ["prediction", "probability", "age", "new_user", "total_pages_visited"]
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#rows tbody tr").all()]
    assert [row[2:] for row in rows] == [["45", "0", "5"], ["old", "1", "2"], ["22", "1", "25"]]
    assert [row[0] for row in rows] == ["0", "rejected", "1"]
    one = asked(server, age=45, new_user=0, total_pages_visited=5)
    assert rows[0][1] == f"{one['probabilities']['1']:.6g}"
    reject = page.locator("#rejects tbody tr td").all_inner_texts()
    assert reject == ["3", "age", "'age' must be a whole number"]
    name, joined = download(page, "Download the predictions")
    assert name == "customers-predictions.csv"
    lines = joined.splitlines()
    assert lines[0] == "age,new_user,total_pages_visited,prediction,probability"
    assert lines[1].startswith("45,0,5,0,0.0")
    assert lines[2] == "old,1,2,,"
    name, rejected = download(page, "Download the rejects")
    assert name == "customers-rejected.csv"
    assert rejected == "line,column,code,reason\n3,age,not_a_number,'age' must be a whole number\n"


def test_a_long_file_is_shown_in_part(page: Page, server: str) -> None:
    opened(page, server)
    rows = b"".join(b"%d,0,5\n" % (20 + each % 50) + b"x,0,5\n" for each in range(150))
    choose(page, b"age,new_user,total_pages_visited\n" + rows)
    expect(page.locator("#outcome")).to_have_text("customers.csv: 300 rows, 150 predicted, 150 rejected.")
    expect(page.locator("#rows tbody tr")).to_have_count(100)
    expect(page.locator("#rejects tbody tr")).to_have_count(100)
    expect(page.locator("#rows h3")).to_have_text("The first 100 of 300 rows, with their predictions")
    expect(page.locator("#rejects h3")).to_have_text("The first 100 of 150 rejected rows")
    assert len(download(page, "Download the rejects")[1].splitlines()) == 151


def test_a_dropped_file_is_predicted(page: Page, server: str) -> None:
    opened(page, server)
    data = page.evaluate_handle(
        """(text) => { const data = new DataTransfer();
        data.items.add(new File([text], "dropped.csv")); return data; }""",
        CUSTOMERS.decode(),
    )
    page.dispatch_event("#table", "drop", {"dataTransfer": data})
    expect(page.locator("#outcome")).to_contain_text("dropped.csv: 3 rows")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a CSV"),
        (b"a,b\n1,2\n", "age"),
        (b"age,new_user,total_pages_visited\n" + b"45,0,5\n" * 40_000, "batch"),
    ],
    ids=["a picture", "other columns", "too large"],
)
def test_a_file_that_is_refused_shows_the_servers_words(
    page: Page, bundle_dir: Path, content: bytes, words: str
) -> None:
    with serve(bundle_dir, MAX_BODY_BYTES="200000") as base:
        opened(page, base)
        choose(page, content)
        expect(page.locator("#outcome")).to_contain_text(words)
        expect(page.locator("#outcome")).to_have_class("error")
        expect(page.locator("#work")).to_be_hidden()
        expect(page.locator("#downloads")).to_be_hidden()


def test_long_work_shows_and_can_be_cancelled(page: Page, server: str) -> None:
    opened(page, server)
    page.route("**/predict_file", lambda _: None)  # no answer comes
    choose(page, CUSTOMERS)
    expect(page.locator("#work")).to_contain_text("customers.csv: 0 s")
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#outcome")).to_have_text("Cancelled.")
    expect(page.locator("#work")).to_be_hidden()


def test_a_server_that_is_gone_is_named(page: Page, server: str) -> None:
    opened(page, server)
    page.route("**/predict", lambda route: route.fulfill(status=502, body="<html>bad gateway</html>"))
    field(page, "age").fill("44")
    expect(page.locator("#problem")).to_have_text("No prediction. The server answers with status 502.")


def test_every_kind_of_field(page: Page, mixed_dir: Path) -> None:
    manifest = json.loads((mixed_dir / "model.json").read_bytes())
    record = manifest["golden"][0]["record"]
    with serve(mixed_dir) as base:
        opened(page, base)
        expect(page.locator("#label")).to_have_text(manifest["golden"][0]["prediction"])
        expect(page.locator("#bars li")).to_have_count(3)
        expect(page.locator("#cut")).to_be_hidden()

        field(page, "garden").select_option("yes")
        field(page, "Straße").select_option("Oslo")
        field(page, "living area").fill("")
        field(page, "heating").select_option("– missing –")
        record |= {"garden": True, "Straße": "Oslo", "living area": None, "heating": None}
        one = asked(base, **record)
        expect(page.locator("#label")).to_have_text(one["prediction"])
        expect(page.locator("#bars .chosen")).to_contain_text(percent(max(one["probabilities"].values())))
        assert "– missing –" not in field(page, "Straße").inner_text()

        field(page, "Straße").select_option("another …")
        field(page, "Another Straße").fill("Århus")
        expect(page.locator("#beyond")).to_contain_text("trained on: Straße")
        field(page, "no.rooms").fill("")
        expect(page.locator("#problem")).to_have_text("No prediction. See no.rooms.")


def loans(rows: int) -> pd.DataFrame:
    """Loans that were granted or not, above all by how often their applicants paid late."""
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "income": random.integers(1_000, 9_000, rows),
            "late payments": random.poisson(1.5, rows),
            "home": random.choice(["owned", "rented", "shared"], rows),
        }
    )
    score = frame["income"] / 2_000 - 2 * frame["late payments"] + (frame["home"] == "owned")
    return frame.assign(granted=np.where(score + random.logistic(size=rows) > 0, "yes", "no"))


@pytest.mark.parametrize("pipeline", ["logistic", "gradient_boosting", "random_forest"])
def test_a_loan_officer_learns_why_on_the_page_and_in_a_column(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str
) -> None:
    """The page draws what ``/explain`` answers, and a batch names the same features in the same order."""
    folder = trained(tmp_path, loans(600), "loans", target="granted", pipeline=pipeline)
    record = {"income": 5200, "late payments": 6, "home": "owned"}
    with serve(folder) as base:
        opened(page, base)
        field(page, "income").fill("5200")
        field(page, "late payments").fill("6")
        field(page, "home").select_option("owned")
        contributions = asked(base, "explain", **record)["contributions"]
        added = contributions["features"]
        strongest = sorted(added, key=lambda name: -abs(added[name]))
        expect(page.locator("#label")).to_have_text("no")
        expect(page.locator("#scale")).to_contain_text("of “yes”: from ")
        expect(page.locator("#adds .share").first).to_have_attribute("title", pattern(added[strongest[0]]))
        bars = page.locator("#adds li")
        assert [bars.nth(index).locator("span").first.inner_text() for index in range(3)] == strongest
        for index, name in enumerate(strongest):
            bar = bars.nth(index).locator("i")
            assert bar.get_attribute("class") == ("less" if added[name] < 0 else "more")
            width = float(str(bar.get_attribute("style")).split(":")[1].rstrip("%; "))
            assert width == pytest.approx(50 * abs(added[name] / added[strongest[0]]), abs=0.01)
    assert strongest[0] == "late payments"
    assert added["late payments"] < 0

    pd.DataFrame([record]).to_csv(tmp_path / "new.csv", index=False)
    monkeypatch.setenv("EXPLAIN", "3")
    assert main(["score", str(tmp_path / "new.csv"), "--model", str(folder), "--quiet"]) == 0
    (row,) = pd.read_csv(tmp_path / "scored" / "new.csv" / "predictions.csv").to_dict("records")
    assert row["prediction"] == "no"
    assert [row[f"reason_{number}"] for number in (1, 2, 3)] == strongest
    for number, name in enumerate(strongest, 1):
        assert row[f"reason_{number}_contribution"] == pytest.approx(added[name], abs=1e-9)


def pattern(value: float) -> re.Pattern[str]:
    """The first digits of a number, as a browser and Python both write it."""
    return re.compile("^" + re.escape(repr(value)[:6]))


SPELLED = {
    "day": ("%d/%m/%Y", "27/04/2021"),
    "quarter": ("%YQ%q", "2000Q3"),
    "month": ("%Y %b", "1987 Sep"),
    "seen at": ("%m/%d/%y %I:%M %p", "12/31/68 12:05 am"),
    "zoned": ("%Y-%m-%dT%H:%M:%S.%f%z", "2020-02-29T10:30:00.123+05:30"),
    "packed": ("%Y%m%d", "20240131"),
}
PICKED = {
    "day": "2021-04-27",
    "quarter": "2000-07-01",
    "month": "1987-09-01",
    "seen at": "2068-12-31T00:05",
    "zoned": "2020-02-29T05:00",
    "packed": "2024-01-31",
}


def test_dates_of_every_spelling_are_picked(page: Page, bundle_dir: Path, tmp_path: Path) -> None:
    """The form needs a manifest only; the server of another model does not take the record."""
    dates = [
        {
            "name": name,
            "kind": "date",
            "nullable": name == "day",
            "format": format,
            "minimum": 0,
            "maximum": 86400,
        }
        for name, (format, _) in SPELLED.items()
    ]

    def change(document: Any) -> None:
        document["features"] = dates
        for row in document["golden"]:
            row["record"] = {name: text for name, (_, text) in SPELLED.items()}

    folder = resealed(bundle_dir, tmp_path, change)
    manifest = json.loads((folder / "model.json").read_text())
    with serve(bundle_dir) as base:
        page.route("**/model", lambda route: route.fulfill(json={**manifest, "links": {}}))
        page.goto(base)
        expect(page.locator("#problem")).to_contain_text("No prediction")
        for name, text in PICKED.items():
            expect(field(page, name)).to_have_value(text)
            seconds = float(np.datetime64(text).astype("datetime64[s]").astype(int))
            assert parse(*SPELLED[name]) == parse(None, text) == seconds
        expect(page.locator("#field-0-hint")).to_have_text("1970-01-01 to 1970-01-02 · optional")


def test_a_regression_shows_its_value(page: Page, regression_dir: Path) -> None:
    golden = json.loads((regression_dir / "model.json").read_bytes())["golden"]
    with serve(regression_dir) as base:
        opened(page, base)
        shown = float(page.locator("#label").inner_text().replace(",", ""))
        assert shown == pytest.approx(golden[0]["prediction"], rel=1e-5)
        expect(page.locator("#detail")).to_be_hidden()


def test_an_anomaly_shows_its_score(page: Page, anomaly_dir: Path) -> None:
    with serve(anomaly_dir) as base:
        opened(page, base)
        expect(page.locator("#caption")).to_have_text("Prediction")
        for load, label in (("20", "Not an anomaly"), ("5000", "An anomaly")):
            field(page, "load").fill(load)
            if load == "5000":
                field(page, "heat").fill("-500")
                field(page, "starts").fill("99")
            expect(page.locator("#label")).to_have_text(label)
            expect(page.locator("#sure")).to_contain_text("score ")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a model whose columns, categories and classes are markup."""
    random = np.random.default_rng(0)
    value = random.normal(0, 1, 400).round(3)
    markup = ["<img src=x onerror=\"alert('category')\">", "'\"></option><script>alert(1)</script>", "ok"]
    frame = pd.DataFrame(
        {
            HOSTILE: value,
            "__proto__": random.choice(markup, 400),
            "y": np.where(value > 0, "<script>alert('class')</script>", "<b>no</b>"),
        }
    )
    with serve(trained(tmp_path_factory.mktemp("hostile"), frame, "hostile", target="y")) as base:
        yield base


def test_markup_in_names_is_text(page: Page, hostile: str) -> None:
    opened(page, hostile)
    field(page, HOSTILE).fill("2")
    expect(page.locator("#label")).to_have_text("<script>alert('class')</script>")
    field(page, HOSTILE).fill("")
    expect(page.locator("#problem")).to_have_text(f"No prediction. See {HOSTILE}.")
    field(page, HOSTILE).fill("-20")
    expect(page.locator("#label")).to_have_text("<b>no</b>")
    expect(page.locator("#beyond")).to_contain_text(HOSTILE)
    field(page, "__proto__").select_option(index=1)
    expect(page.locator("#call")).to_contain_text('"__proto__":"')
    quoted = HOSTILE.replace('"', '""')
    choose(page, f'"{quoted}",__proto__,"<i>x</i>"\n1,ok,"<img src=y onerror=alert(2)>"\nx,ok,\n'.encode())
    expect(page.locator("#outcome")).to_contain_text("2 rows, 1 predicted, 1 rejected")
    expect(page.locator("#rows tbody td").last).to_have_text("")
    assert "<i>x</i>" in page.locator("#rows th").all_inner_texts()
    assert page.locator("main :is(img, script, b, i:not(.track i))").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_a_phone_and_a_desktop(
    browser: Browser, hostile: str, width: int, scheme: Any
) -> None:
    """Nothing is wider than the window, and every text stands out from its ground (WCAG 2, AA)."""
    with browser.new_context(viewport={"width": width, "height": 700}, color_scheme=scheme) as context:
        page = context.new_page()
        opened(page, hostile)
        choose(page, f'"{HOSTILE.replace(chr(34), chr(34) * 2)}",__proto__\n1,ok\nx,ok\n'.encode())
        expect(page.locator("#outcome")).to_contain_text("2 rows")
        field(page, HOSTILE).fill("-20")
        expect(page.locator("#beyond")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 20
        assert {words: ratio for words, ratio in contrasts if ratio < 4.5} == {}


#: The texts that are seen, each with its contrast to what is painted behind it.
#: https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio
CONTRASTS = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => channels(color).slice(0, 3).map((each) => each / 255)
    .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
    .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if (channels(color)[3] !== 0) return color;
    }
  };
  const texts = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest(".unseen, option, script")) continue;
    const pair = [luminance(getComputedStyle(element).color), luminance(ground(element))];
    texts.push([element.textContent, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)]);
  }
  return texts;
}"""


def test_without_scripts_a_sentence_says_so(browser: Browser, server: str) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(server)
        expect(page.locator("noscript p")).to_be_visible()
        assert page.locator("noscript a").first.get_attribute("href") == "openapi.json"
        expect(page.locator("main")).to_be_hidden()
