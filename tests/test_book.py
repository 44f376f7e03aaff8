"""The web book, as `make book` has built it: its links, and in a headless Chromium its search, alt texts, dark mode and width.

Without a book in build/book/ all of it is skipped; what needs a browser is asked for by PRUNING_BROWSER=1 (`make test-browser`).
Screenshots are written to build/browser-book/.
"""

import io
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag

import nbformat
import numpy as np
import pytest
from conftest import NEEDS_BROWSER
from PIL import Image

from helpers.data import REPOSITORY

BOOK = REPOSITORY / "build" / "book"
SHOTS = REPOSITORY / "build" / "browser-book"
PAGES = sorted(path for path in BOOK.rglob("*.html") if "_static" not in path.parts)
LESSONS = sorted((REPOSITORY / "notebooks").glob("[0-9]*.ipynb"))

pytestmark = pytest.mark.skipif(not PAGES, reason="make book builds it")


class Parsed(HTMLParser):
    """The ids of a page, the addresses that it links to or loads, and its pictures without alt text."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.addresses, self.silent = {""}, set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes.get("id"), attributes.get("name")}
        if tag in ("a", "link", "img", "script"):
            self.addresses |= {attributes.get("href"), attributes.get("src")} - {None}
        if tag == "img" and not attributes.get("alt") and "logo" not in attributes.get("class", ""):
            self.silent.append(attributes.get("src"))


def test_every_link_and_anchor_resolves_and_every_picture_has_alt_text():
    pages = {path.resolve(): Parsed(path) for path in PAGES}
    broken = []
    for path, page in pages.items():
        broken += [f"{path.name}: {source} has no alt text" for source in page.silent]
        for address in page.addresses:
            place, anchor = urldefrag(address)
            target = (path.parent / unquote(place.split("?")[0])).resolve() if place else path
            if place.startswith(("https:", "mailto:", "data:")):
                continue
            if not target.exists():
                broken.append(f"{path.name}: {address}")
            elif target in pages and unquote(anchor) not in pages[target].ids:
                broken.append(f"{path.name}: {address}: no such anchor")
    assert broken == []


def test_every_page_of_the_collection_is_in_the_book():
    sources = {REPOSITORY / "README.md", REPOSITORY / "index", REPOSITORY / "search"}
    for pattern in ("docs/*.md", "notebooks/[0-9]*.ipynb", "notebooks/solutions/[0-9]*.ipynb"):
        sources |= set(REPOSITORY.glob(pattern))
    assert {BOOK / path.relative_to(REPOSITORY).with_suffix(".html") for path in sources} == set(PAGES)


@pytest.fixture(scope="module")
def address():
    """Of a server for the book."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=BOOK))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def open_page(address, browser):
    """Opens a page of the book in a new window; no window may ask another machine for anything, or report an error."""
    troubles = []

    def opened(path: str, width: int = 1366, **options):
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        page.on("request", lambda request: request.url.startswith((address, "data:", "blob:")) or troubles.append(request.url))
        page.on("requestfailed", lambda request: troubles.append(f"{request.url} failed"))
        page.on("console", lambda message: message.type == "error" and troubles.append(f"{path}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"{path}: {error}"))
        page.goto(f"{address}/{path}", wait_until="load")
        return page

    yield opened
    for context in browser.contexts:
        context.close()
    assert troubles == []


@NEEDS_BROWSER
def test_search_finds_recalibrate(open_page):
    page = open_page("search.html?q=recalibrate")
    page.locator("#search-results li a").first.wait_for()
    page.screenshot(path=SHOTS / "search.png")
    found = [link.get_attribute("href") for link in page.locator("#search-results li a").all()]
    assert any("notebooks/" in link for link in found)


@NEEDS_BROWSER
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_figures_have_their_alt_texts_and_can_be_read_in_dark_mode(open_page, lesson):
    page = open_page(f"notebooks/{lesson.stem}.html", color_scheme="dark")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert luminance(page.screenshot())[0] < 0.3  # the page
    outputs = [output for cell in nbformat.read(lesson, as_version=4).cells for output in cell.get("outputs", [])]
    alts = [output.metadata["image/png"]["alt"] for output in outputs if "image/png" in output.get("data", {})]
    shown = [image.get_attribute("alt") for image in page.locator(".cell_output img").all()]
    assert [" ".join(alt.split()) for alt in shown] == [" ".join(alt.split()) for alt in alts]
    for k, image in enumerate(page.locator(".bd-article img").all()):
        image.scroll_into_view_if_needed()
        assert image.evaluate("image => image.complete && image.naturalWidth")
        dark, light = np.quantile(luminance(image.screenshot(path=SHOTS / f"{lesson.stem}-{k}.png"))[1], (0.001, 0.6))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, image.get_attribute("alt")


def luminance(screenshot: bytes) -> tuple[float, np.ndarray]:
    """Mean and values of relative luminance (WCAG 2), 0 to 1."""
    srgb = np.asarray(Image.open(io.BytesIO(screenshot)).convert("RGB")) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    values = linear @ (0.2126, 0.7152, 0.0722)
    return values.mean(), values


@NEEDS_BROWSER
@pytest.mark.parametrize("path", PAGES, ids=[path.relative_to(BOOK).as_posix() for path in PAGES])
def test_a_telephone_needs_no_sideways_scrolling(open_page, path):
    page = open_page(path.relative_to(BOOK).as_posix(), width=390)
    page.screenshot(path=SHOTS / f"390-{path.parent.name}-{path.stem}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # what is cut off must scroll inside itself, as code and wide tables do
    cut = """[...document.querySelectorAll('.bd-article *')].filter(element => {
        const box = element.getBoundingClientRect();
        if (!box.width || box.right <= 391) return false;
        for (let e = element; e.matches('.bd-article, .bd-article *'); e = e.parentElement)
            if (['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.getBoundingClientRect().right <= 391) return false;
        return true;
    }).map(element => element.outerHTML.slice(0, 100))"""
    assert page.evaluate(cut) == []
