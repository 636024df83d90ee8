"""A real browser, and pages that must stay quiet in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error, Page, Request, sync_playwright

CHROMIUM = Path("/usr/bin/chromium-headless-shell")
#: Root needs the first. The others keep Chromium from calling home, which would fail here.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: What Chromium itself says of an answer that is an error, such as a 422 to a record that is half typed.
REFUSED = "error: Failed to load resource: the server responded with a status of "
#: What it says where a container of another test comes or goes meanwhile, and its network with it.
CHANGED = "net::ERR_NETWORK_CHANGED"
go = Page.goto


def visit(page: Page, url: str, **options: Any) -> None:
    """Open a page, and again where the machine's network changed before all of it was there."""
    for _ in range(10):
        failed: list[str] = []

        def note(request: Request, failed: list[str] = failed) -> None:
            failed.append(request.failure or "")

        page.on("requestfailed", note)
        try:
            go(page, url, **options)
        except Error as error:
            if CHANGED not in error.message:
                raise
            failed.append(CHANGED)
        finally:
            page.remove_listener("requestfailed", note)
        if CHANGED not in failed:
            return
        page.wait_for_timeout(500)  # Chromium shows a page of its own by then


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is missing: apt-get install chromium-headless-shell"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patched:
        patched.setattr(Page, "goto", visit)
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that must stay quiet: no message of its own in its console, no request to another host."""
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: said.append(f"a dialog: {dialog.message}"))
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    own = urlsplit(opened.url).netloc
    context.close()
    assert [each for each in said if not each.startswith(REFUSED) and CHANGED not in each] == []
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))} == {own}
