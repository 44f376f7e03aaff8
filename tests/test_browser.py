"""JupyterLab in a real browser: its workspace opens, three lessons run whole, without an error, answer a guess, and
the slider redraws the picture.

It takes about four minutes, so `make test` skips it and `make test-browser` asks for it by PRUNING_BROWSER=1. Everything runs in a
copy of the notebooks with settings of its own; screenshots are written to build/browser/.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from conftest import NEEDS_BROWSER

from helpers.data import REPOSITORY

SHOTS = REPOSITORY / "build" / "browser"
NAMES = ("02_builtin_pruning.ipynb", "03_mask_visualisation.ipynb", "11_your_network.ipynb")
WITH_SLIDER = NAMES[1]
WORKSPACE = REPOSITORY / "tools" / "lessons.jupyterlab-workspace"
SECONDS = 300  # for the kernel's first import, or for running all cells

pytestmark = NEEDS_BROWSER


def until(true, what: str):
    """Wait until `true()` is, and return it; fails with `what` otherwise."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if value := true():
            return value
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {SECONDS} s")


def ask(address: str, what: str):
    """What the server's API says, or None while it does not answer."""
    try:
        with urllib.request.urlopen(f"{address}/api/{what}?token=notebooks", timeout=30) as answer:
            return json.load(answer)
    except OSError:
        return None


def idle(lab: str, seconds: float = 0) -> None:
    """Wait until the kernels are idle, and still are after so many seconds: between two moves of a slider they are for a moment."""

    def are_idle() -> bool:
        return {kernel["execution_state"] for kernel in ask(lab, "kernels") or []} == {"idle"}

    until(lambda: are_idle() and (time.sleep(seconds) or are_idle()), "the kernel is idle")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab on a copy of the notebooks, without stored outputs: what is seen has been run."""
    folder = tmp_path_factory.mktemp("lab")
    for part in ("notebooks", "images"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copy(REPOSITORY / "README.md", folder)
    copies = [folder / "notebooks" / name for name in NAMES]
    subprocess.run([sys.executable, "-m", "nbconvert", "--clear-output", "--inplace", *copies], check=True)
    settings = folder / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"windowingMode": "none"}', encoding="utf-8")  # cells out of sight are in the page too
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if key != "TQDM_DISABLE"}  # it switches widgets off
    environment |= {"PRUNING_DATA": "digits", "PYTHONPATH": str(REPOSITORY), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    for place in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_WORKSPACES_DIR"):
        environment[place] = str(folder / place.lower())
    labapp = [sys.executable, "-m", "jupyterlab.labapp", "workspaces", "import", WORKSPACE]
    subprocess.run(labapp, env=environment, check=True, stderr=subprocess.DEVNULL)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=notebooks", "--ServerApp.root_dir=."]
    with open(folder / "server.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: ask(address, "status") or server.poll() is not None, "JupyterLab answers")
        assert server.poll() is None, (folder / "server.log").read_text(encoding="utf-8")[-2000:]
        yield address
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def open_page(lab, browser):
    """Opens a path of the server in a page of a laptop's size; the page is closed, and pictured, at the end."""
    pages = {}

    def opened(path: str):
        page = pages[path] = browser.new_page(viewport={"width": 1366, "height": 768})
        page.set_default_timeout(SECONDS * 1000)
        page.goto(f"{lab}/lab/{path}?token=notebooks")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        idle(lab)
        return page

    yield opened
    for path, page in pages.items():
        page.screenshot(path=SHOTS / f"{path.split('/')[-1]}.png")
        page.close()
    for session in ask(lab, "sessions") or []:  # the next page shall find no kernel that is idle already
        request = urllib.request.Request(f"{lab}/api/sessions/{session['id']}?token=notebooks", method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()


@pytest.fixture
def run_all(lab, open_page):
    """Opens a lesson and runs it from top to bottom."""

    def run(name: str):
        page = open_page(f"workspaces/{name[:2]}/tree/notebooks/{name}")  # its own, or tabs of the lesson before come back
        # a collapsed cell shows no prompt, so all are expanded first
        for menu, command in (("View", "notebook:show-all-cell-code"), ("Run", "runmenu:run-all")):
            page.get_by_role("menuitem", name=menu, exact=True).click()
            page.locator(f'li[data-command="{command}"]').click()
        last = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").last
        until(lambda: last.inner_text().strip("[]: ").isdigit(), "all cells have run")
        idle(lab)
        return page

    return run


def test_the_workspace_opens_readme_lesson_and_table_of_contents(open_page):
    page = open_page("workspaces/lessons")
    for title in ("README.md", "01_train_cifar10.ipynb"):
        page.locator(".lm-DockPanel-tabBar .lm-TabBar-tabLabel", has_text=title).wait_for()
    page.locator("#table-of-contents .jp-tocItem-heading", has_text="Training").first.wait_for()


@pytest.mark.parametrize("name", NAMES)
def test_all_cells_run_without_an_error_and_figures_are_shown(run_all, lab, name):
    page = run_all(name)
    notebook = nbformat.read(REPOSITORY / "notebooks" / name, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    prompts = [prompt.inner_text().strip() for prompt in page.locator(".jp-CodeCell .jp-InputPrompt").all()]
    assert prompts == [f"[{k}]:" for k in range(1, len(cells) + 1)]
    for kind in ("stderr", "error"):
        assert page.locator(f'[data-mime-type="application/vnd.jupyter.{kind}"]').all_inner_texts() == []
    pictures = page.locator(".jp-OutputArea-output img").all()
    figures = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == len(figures) + (name == WITH_SLIDER)
    widths = [picture.evaluate("image => image.complete && image.clientWidth") for picture in pictures]
    assert all(width > 300 for width in widths)
    if name == WITH_SLIDER:
        assert max(widths) >= 900  # tests/test_style.py reckons with a page of this width
    drawings = page.locator(".jp-MarkdownOutput img").all()
    assert len(drawings) == sum(cell.source.count("](../images/") for cell in notebook.cells)
    assert all(drawing.evaluate("image => image.complete && image.naturalWidth") for drawing in drawings)

    if name == WITH_SLIDER:
        check_slider(page, lab)
    answer_a_guess(page)


def answer_a_guess(page) -> None:
    """Type a number where the first one-line question says None, run on, and read how far off it was."""
    question = page.locator(".jp-CodeCell .cm-line", has_text=re.compile(r'^\w+ = predict\(.*unit="%", guess=None\)$')).first
    question.scroll_into_view_if_needed()
    question.click()
    page.keyboard.press("Control+End")
    for _ in "None)":
        page.keyboard.press("Backspace")
    page.keyboard.type("33.3)")
    told = page.locator(".jp-OutputArea-output", has_text="You guessed 33.3 %")
    for _ in range(4):
        page.keyboard.press("Shift+Enter")
    until(lambda: told.count(), "the cell with the result tells how far off the guess is")


def check_slider(page, lab) -> None:
    """Moving it draws one new picture in place of the old one."""
    cell = page.locator(".jp-CodeCell", has=page.locator(".widget-interact"))
    cell.scroll_into_view_if_needed()

    def pictures() -> list[str]:
        """Those below the slider, in base64."""
        return [image.get_attribute("src") for image in cell.locator("img").all()]

    def redrawn(before: list[str], name: str) -> list[str]:
        until(lambda: pictures() and pictures() != before, f"the picture changes: {name}")
        idle(lab, seconds=2)
        after = pictures()
        cell.screenshot(path=SHOTS / f"{name}.png")
        assert len(after) == 1  # replaced, not added
        return after

    first = redrawn([], "first")
    handle = cell.locator(".widget-slider .noUi-handle")
    handle.focus()
    for _ in range(3):
        handle.press("PageUp")
    moved = redrawn(first, "moved")
    cell.locator(".widget-dropdown select").select_option("random")
    redrawn(moved, "random")
    assert cell.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
