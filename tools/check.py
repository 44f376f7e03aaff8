"""Is this machine ready? One table of what is there, what is missing and what to do (`make check`).

Uses the standard library alone, and no syntax newer than Python 3.6: it works before anything is installed.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST = (3, 11)
OWN = "this Python's own,"
BATCHES = ["data_batch_%d" % k for k in range(1, 6)] + ["test_batch", "batches.meta"]
MEMORY_GB, DISK_GB, INSTALLED_GB = 4, 2, 7

VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = version(name)
    except PackageNotFoundError:
        versions[name] = None
print(json.dumps(versions))
"""
TRAINING = """
import json, time
from helpers import CifarNet, load_dataset, train
data, model = load_dataset("digits"), CifarNet(0.5)
def rate(epochs):
    history = train(model, data, epochs=epochs, batch_size=100, validate=False, progress=False)
    return 100 * history.steps / history.seconds
seconds = time.time()
whole = rate(max(0.3, 8 * rate(0.3) / len(data.train)))
print(json.dumps({"seconds": time.time() - seconds, "images_per_second": whole}))
"""


def number(version):
    """(2, 15) of "2.15.0+cpu"."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def requirements():
    """{"torch": (2, 9), …}: the lower bounds of requirements.txt."""
    with open(os.path.join(HERE, "requirements.txt"), encoding="utf-8") as file:
        bounds = re.findall(r"^([A-Za-z0-9_-]+)(?:\[\w+\])?>=([\d.]+)", file.read(), re.MULTILINE)
    return {name: number(version) for name, version in bounds}


def ask(python, code, *arguments):
    """What a piece of code prints (JSON) in the environment, or None and the last line of its error."""
    environment = dict(os.environ, TQDM_DISABLE="1")
    command = [python, "-c", code] + list(arguments)
    try:
        done = subprocess.run(command, cwd=HERE, env=environment, stdout=-1, stderr=-1, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    if done.returncode:
        return None, (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
    return json.loads(done.stdout.decode().strip().splitlines()[-1]), ""


def free_memory():
    """Gigabytes that programs can still take, or None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) / 1e6
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return None


def cifar10(folder):
    """The row of the table that says whether CIFAR-10 lies in a folder, with all its files."""
    wanted = os.environ.get("PRUNING_DATA", "").strip().lower()
    if wanted == "digits":
        return True, "data", "digits (built in), as PRUNING_DATA says", ""
    where = os.path.join(folder, "cifar-10-batches-py")
    if os.path.isdir(where):
        missing = [name for name in BATCHES if not os.path.isfile(os.path.join(where, name))]
        state = "%s lacks %s" % (where, ", ".join(missing)) if missing else "digits (built in) and CIFAR-10"
        return not missing, "data", state, "delete that folder, then make data"
    if wanted == "cifar10":
        state = "PRUNING_DATA is cifar10, but there is none in %s" % folder
        return False, "data", state, "make data (162 MB), or unset PRUNING_DATA"
    return True, "data", "digits (built in); for CIFAR-10: make data (162 MB)", ""


def check(python):
    """Rows (good, what, state, what to do) of the table; `python` is the environment's interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield sys.version_info >= OLDEST, "Python", version, "install Python %d.%d or newer, then make PYTHON=/path/to/it" % OLDEST
    state, again = ".venv is there", "delete .venv, then make setup"
    if not os.path.exists(python) and importlib.util.find_spec("torch"):  # installed by pip or conda, not by make
        python, state = sys.executable, "%s %s" % (OWN, sys.prefix)
        again = "pip install -r requirements.txt -c constraints.txt"
    installed = os.path.exists(python)
    yield installed, "environment", state if installed else "not made yet", "make setup (about 6 GB, some minutes)"
    if installed:
        bounds = requirements()
        answer, error = ask(python, VERSIONS, *bounds)
        if answer is None:
            yield False, "packages", error, again
        else:
            bad = ["%s is missing" % name for name in bounds if not answer[name]]
            old = [name for name in bounds if answer[name] and number(answer[name]) < bounds[name]]
            bad += ["%s %s is too old" % (name, answer[name]) for name in old]
            state = ", ".join(bad) or "all %d, torch %s" % (len(bounds), answer["torch"])
            yield not bad, "packages", state, again.split(", then ")[-1]
    yield cifar10(os.path.expanduser(os.environ.get("PRUNING_DATA_DIR") or os.path.join(HERE, "data")))
    memory = free_memory()
    state = "unknown" if memory is None else "%.0f GB free" % memory
    yield memory is None or memory >= MEMORY_GB, "memory", state, "close other programs: %d GB are needed" % MEMORY_GB
    disk, needed = shutil.disk_usage(HERE).free / 1e9, DISK_GB if installed else INSTALLED_GB
    yield disk >= needed, "disk", "%.0f GB free" % disk, "make room: %d GB are needed here" % needed
    if installed:
        answer, error = ask(python, TRAINING)
        if answer is None:
            yield False, "training", error, again + "; if it stays, open an issue with this line"
        else:
            rate = answer["images_per_second"]
            state = "%.0f s at %.0f images/s: two epochs of lesson 1 take about %.0f min here"
            yield True, "training", state % (answer["seconds"], rate, max(1, 2 * 45000 / rate / 60)), ""


def main(python):
    bad, ready = 0, "make run"
    for good, what, state, todo in check(python):
        bad += not good
        if state.startswith(OWN):
            ready = "jupyter lab"
        print("  %s %-12s %s%s" % ("✓" if good else "✗", what, state, "" if good else "  ->  " + todo), flush=True)
    print("ready: " + ready if not bad else "%d thing%s to do first" % (bad, "" if bad == 1 else "s"))
    return int(bad > 0)


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    sys.exit(main(sys.argv[1]))
