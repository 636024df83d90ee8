"""The model report in a real browser, on a phone and on a desktop, as it is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page
from sklearn.linear_model import LogisticRegression

from tests.support.serving import serve
from training.importing.packages import package

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1200, "height": 1000}
#: What reaches beyond the window, other than what scrolls in a box of its own.
BEYOND = """() => [...document.querySelectorAll('body *')]
    .filter(each => !each.parentElement.closest('.scroll, pre'))
    .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
    .map(each => each.outerHTML.slice(0, 80))"""
#: Words of tables that stand on more than one line.
BROKEN = r"""() => [...document.querySelectorAll('td, th')].flatMap(cell => {
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), broken = [];
    for (let node; (node = texts.nextNode());)
        for (const word of node.data.matchAll(/[\w.]+/g)) {
            const range = document.createRange();
            range.setStart(node, word.index);
            range.setEnd(node, word.index + word[0].length);
            const lines = new Set([...range.getClientRects()].map(each => Math.round(each.top)));
            if (lines.size > 1) broken.push(word[0]);
        }
    return broken;
})"""
#: Texts in pictures that are cut off at the picture's edge, and those that are too small to read.
CUT = """() => [...document.querySelectorAll('svg text')].filter(text => {
    const own = text.getBoundingClientRect(), whole = text.closest('svg').getBoundingClientRect();
    return own.left < whole.left - 2 || own.right > whole.right + 2
        || own.top < whole.top - 2 || own.bottom > whole.bottom + 2;
}).map(text => text.textContent)"""
SMALLEST = """() => Math.min(...[...document.querySelectorAll('svg')].map(
    svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width * 11))"""


def check(page: Page, folder: Path) -> None:
    """The report on a phone and a desktop: nothing sticks out, no word is broken, all can be read."""
    with serve(folder) as base:
        for window in (PHONE, DESKTOP):
            page.set_viewport_size({**window})
            page.goto(f"{base}/report")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate(BEYOND) == []
            assert page.evaluate(BROKEN) == []
            assert page.evaluate(CUT) == []
            assert page.evaluate(SMALLEST) >= 9.5


@pytest.mark.parametrize(
    "bundle", ["bundle_dir", "mixed_dir", "regression_dir", "anomaly_dir", "cluster_dir"]
)
def test_a_report_is_read_on_a_phone_and_on_a_desktop(
    page: Page, bundle: str, request: pytest.FixtureRequest
) -> None:
    check(page, request.getfixturevalue(bundle))


def test_many_classes_and_long_names_stay_in_their_boxes(page: Page, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    long = "the_answer_to_a_question_of_a_questionnaire_that_nobody_has_shortened"
    rows = pd.DataFrame(random.normal(size=(600, 30)).round(2)).add_prefix(f"{long}_")
    classes = np.array([f"Class {each} of_the_{'very_' * (each % 4 * 3)}long_names" for each in range(20)])
    y = pd.Series(classes[np.arange(600) % 20], name=long)
    model: Any = LogisticRegression(max_iter=20, tol=1).fit(rows, y)
    package(model, rows, y, out=tmp_path / "model", say=lambda _: None)
    check(page, tmp_path / "model")
    assert page.locator("svg[aria-label='Confusion matrix'] rect").count() == 400


def test_the_links_lead_to_the_other_pages(page: Page, server: str) -> None:
    page.goto(f"{server}/report")
    assert page.title() == "sales: model report"
    links = page.locator("nav a").evaluate_all("links => links.map(link => link.href)")
    assert links == [f"{server}/{route}" for route in ("", "apidocs", "model", "card")]
    for link in links:
        assert page.request.get(link).status == 200
