import os
import shutil

os.environ.setdefault("TQDM_DISABLE", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

from helpers import load_dataset

settings.register_profile("here", deadline=None, max_examples=25, suppress_health_check=list(HealthCheck), derandomize=True)
settings.load_profile("here")


def pytest_collection_modifyitems(config, items):
    """Tests marked `long` (many kills, clusters, nested runs) wait for `make test-all`, which asks by PRUNING_LONG=1."""
    if not os.environ.get("PRUNING_LONG"):
        skip = pytest.mark.skip(reason="long: make test-all runs it")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDS_BROWSER = pytest.mark.skipif(
    not (os.environ.get("PRUNING_BROWSER") and CHROMIUM),
    reason="make test-browser runs it, where a Chromium is installed (apt install chromium)",
)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, for JupyterLab and for the web book."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def digits():
    return load_dataset("digits")


@pytest.fixture
def state_of():
    """A copy of a model's state, to compare with later."""
    return lambda model: {key: value.clone() for key, value in model.state_dict().items()}


@pytest.fixture
def same_state():
    return lambda a, b: a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
