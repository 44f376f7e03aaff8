"""JupyterLab as `make lab` starts it: nobody comes in without its token, or from another machine."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

import tasks
from helpers.data import REPOSITORY

pytestmark = pytest.mark.long


@pytest.fixture
def server(tmp_path):
    """What the running server says about itself: address, port, token."""
    places = {name: str(tmp_path / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")}
    command = [sys.executable, *tasks.LAB, "--no-browser", "--allow-root"]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | places, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while not (files := list((tmp_path / "jupyter_runtime_dir").glob("jpserver-*.json"))) and time.monotonic() < end:
            time.sleep(0.3)
        yield json.loads(files[0].read_text(encoding="utf-8"))
    finally:
        process.terminate()
        process.wait(60)


def status(server, token="") -> int:
    """The answer's code for a question to the API."""
    address = f"http://127.0.0.1:{server['port']}/api/contents" + (f"?token={token}" if token else "")
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_token_and_address(server):
    assert len(server["token"]) >= 40 and not server["password"]
    assert status(server) == status(server, "guess") == 403 and status(server, server["token"]) == 200
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent; it tells the address by which others reach this machine
        here = probe.getsockname()[0]
    if not here.startswith("127."):
        with pytest.raises(OSError):
            socket.create_connection((here, server["port"]), timeout=5).close()
