"""JupyterLab in a real browser: notebook 03 opens, runs without an error, and its slider redraws the picture.

Slow (a server, a kernel and a Chromium: about a minute), so `make test` skips it and `make test-browser` asks for it by
PRUNING_BROWSER=1. Where no Chromium is installed it is skipped with that reason. Everything runs in a copy of the notebooks
with settings of its own; screenshots come to lie in build/browser/.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest

from helpers.data import REPOSITORY

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None)
SHOTS = REPOSITORY / "build" / "browser"
NAME = "03_mask_visualisation.ipynb"
TOKEN = "notebooks"
SECONDS = 300  # for whatever takes longest: the kernel's first import, or running all cells

pytestmark = [
    pytest.mark.skipif(not os.environ.get("PRUNING_BROWSER"), reason="slow: make test-browser runs it"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium, or install Google Chrome"),
]


def until(true, what: str, seconds: float = SECONDS):
    """Wait until `true()` is, and return it; fails with `what` otherwise."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab on a copy of the notebooks, without stored outputs: what is seen has been run."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    notebook = nbformat.read(folder / "notebooks" / NAME, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, folder / "notebooks" / NAME)
    settings = {
        "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are in the page too
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    for place, content in settings.items():
        path = folder / "settings" / "@jupyterlab" / f"{place}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if key != "TQDM_DISABLE"}  # it switches widgets off
    environment |= {"PRUNING_DATA": "digits", "PYTHONPATH": str(REPOSITORY), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    for place in ("CONFIG_DIR", "RUNTIME_DIR", "DATA_DIR"):
        environment[f"JUPYTER_{place}"] = str(folder / place.lower())
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / "workspaces")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", "--ServerApp.root_dir=notebooks"]
    log = folder / "server.log"
    with open(log, "w", encoding="utf-8") as out:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"

    def ready():
        assert server.poll() is None, log.read_text(encoding="utf-8")[-2000:]
        try:
            return ask(address, "status")
        except OSError:
            return None

    try:
        until(ready, "JupyterLab answers")
        yield address
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def ask(address: str, what: str):
    with urllib.request.urlopen(f"{address}/api/{what}?token={TOKEN}", timeout=30) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def page(lab):
    """Notebook 03, open in headless Chromium and run from top to bottom."""
    from playwright.sync_api import sync_playwright

    shutil.rmtree(SHOTS, ignore_errors=True)
    SHOTS.mkdir(parents=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.set_default_timeout(60_000)
        try:
            page.goto(f"{lab}/lab/tree/{NAME}?token={TOKEN}", timeout=SECONDS * 1000)
            page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=SECONDS * 1000)
            idle(lab)
            page.screenshot(path=SHOTS / "1-opened.png")
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.locator('li[data-command="runmenu:run-all"]').click()
            last = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").last
            until(lambda: last.inner_text().strip("[]: ").isdigit(), "all cells have run")
            idle(lab)
            yield page
        finally:
            page.screenshot(path=SHOTS / "9-at-the-end.png")
            browser.close()


def idle(lab: str) -> None:
    until(lambda: [kernel["execution_state"] for kernel in ask(lab, "kernels")] == ["idle"], "the kernel is idle")


def slider_cell(page):
    return page.locator(".jp-CodeCell", has=page.locator(".widget-interact"))


def redrawn(page) -> list[str]:
    """The pictures (base64) below the slider."""
    return [image.get_attribute("src") for image in slider_cell(page).locator("img").all()]


def test_all_cells_run_without_an_error(page):
    prompts = [prompt.inner_text().strip() for prompt in page.locator(".jp-CodeCell .jp-InputPrompt").all()]
    cells = [c for c in nbformat.read(REPOSITORY / "notebooks" / NAME, as_version=4).cells if c.cell_type == "code"]
    assert prompts == [f"[{k}]:" for k in range(1, len(cells) + 1)]
    stderr = page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]').all_inner_texts()
    errors = page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()
    assert errors == [] and stderr == []


def test_figures_are_shown(page):
    pictures = page.locator(".jp-OutputArea-output img").all()
    stored = nbformat.read(REPOSITORY / "notebooks" / NAME, as_version=4)
    figures = [o for c in stored.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == len(figures) + 1  # and the slider's
    widths = [picture.evaluate("image => image.complete && image.clientWidth") for picture in pictures]
    assert min(widths) > 300
    assert max(widths) >= 900  # tests/test_style.py reckons with a page of this width


def test_the_slider_redraws_the_picture(page, lab):
    cell = slider_cell(page)
    cell.scroll_into_view_if_needed()
    before = until(lambda: redrawn(page), "the slider's first picture", 60)
    assert len(before) == 1
    cell.screenshot(path=SHOTS / "2-slider-before.png")
    handle = cell.locator(".widget-slider .noUi-handle")
    handle.focus()
    for _ in range(3):
        handle.press("PageUp")
    after = until(lambda: (new := redrawn(page)) and new != before and new, "the picture changes", 60)
    idle(lab)
    cell.screenshot(path=SHOTS / "3-slider-moved.png")
    assert len(redrawn(page)) == 1  # replaced, not added
    cell.locator(".widget-dropdown select").select_option("random")
    until(lambda: (new := redrawn(page)) and new != after and new, "the picture changes with the method", 60)
    idle(lab)
    cell.screenshot(path=SHOTS / "4-random.png")
    assert len(redrawn(page)) == 1
    assert cell.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
