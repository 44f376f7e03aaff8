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
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        found[name] = None
print(json.dumps(found))
"""
TRAINING = """
import json, time
from helpers import CifarNet, load_dataset, train
data, model = load_dataset("digits"), CifarNet(0.5)
def rate(epochs):
    history = train(model, data, epochs=epochs, batch_size=100, validate=False, progress=False)
    return 100 * history.steps / history.seconds
seconds = time.time()
first = rate(0.3)
whole = rate(max(0.3, 8 * first / len(data.train)))
print(json.dumps({"seconds": time.time() - seconds, "images_per_second": whole}))
"""


def number(version):
    """(2, 15) of "2.15.0+cpu"."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def requirements():
    """{"torch": (2, 9), …}: the lower bounds of requirements.txt."""
    bounds = {}
    with open(os.path.join(HERE, "requirements.txt"), encoding="utf-8") as file:
        for line in file:
            match = re.match(r"([A-Za-z0-9_-]+)(?:\[\w+\])?>=([\d.]+)", line)
            if match:
                bounds[match.group(1)] = number(match.group(2))
    return bounds


def ask(python, code, *arguments):
    """What a piece of code prints (JSON) in the environment, or None and the last line of its error."""
    environment = dict(os.environ, TQDM_DISABLE="1")
    try:
        done = subprocess.run(
            [python, "-c", code] + list(arguments), cwd=HERE, env=environment, stdout=-1, stderr=-1, timeout=300
        )
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
        told = "%s lacks %s" % (where, ", ".join(missing)) if missing else "digits (built in) and CIFAR-10"
        return not missing, "data", told, "delete that folder, then make data"
    if wanted == "cifar10":
        told = "PRUNING_DATA is cifar10, but there is none in %s" % folder
        return False, "data", told, "make data (162 MB), or unset PRUNING_DATA"
    return True, "data", "digits (built in); for CIFAR-10: make data (162 MB)", ""


def check(python):
    """Rows (good, what, found, what to do) of the table; `python` is the environment's interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield sys.version_info >= OLDEST, "Python", version, "install Python %d.%d or newer, then make PYTHON=/path/to/it" % OLDEST
    told, again = ".venv is there", "delete .venv, then make setup"
    if not os.path.exists(python) and importlib.util.find_spec("torch"):  # installed by pip or conda, not by make
        python, told = sys.executable, "%s %s" % (OWN, sys.prefix)
        again = "pip install -r requirements.txt -c constraints.txt"
    installed = os.path.exists(python)
    yield installed, "environment", told if installed else "not made yet", "make setup (about 6 GB, some minutes)"
    if installed:
        bounds = requirements()
        found, error = ask(python, VERSIONS, *bounds)
        if found is None:
            yield False, "packages", error, again
        else:
            missing = [name for name in bounds if found[name] is None]
            old = ["%s %s" % (name, found[name]) for name in bounds if found[name] and number(found[name]) < bounds[name]]
            bad = ["%s is missing" % name for name in missing] + ["%s is too old" % name for name in old]
            yield (
                not bad,
                "packages",
                ", ".join(bad) or "all %d, torch %s" % (len(bounds), found["torch"]),
                again.split(", then ")[-1],
            )
    yield cifar10(os.path.expanduser(os.environ.get("PRUNING_DATA_DIR") or os.path.join(HERE, "data")))
    memory = free_memory()
    told = "unknown" if memory is None else "%.0f GB free" % memory
    yield memory is None or memory >= MEMORY_GB, "memory", told, "close other programs: %d GB are needed" % MEMORY_GB
    disk, needed = shutil.disk_usage(HERE).free / 1e9, DISK_GB if installed else INSTALLED_GB
    yield disk >= needed, "disk", "%.0f GB free" % disk, "make room: %d GB are needed here" % needed
    if installed:
        found, error = ask(python, TRAINING)
        if found is None:
            yield False, "training", error, again + "; if it stays, open an issue with this line"
        else:
            rate = found["images_per_second"]
            told = "%.0f s at %.0f images/s: three epochs of notebook 1 take about %.0f min here"
            yield True, "training", told % (found["seconds"], rate, max(1, 3 * 45000 / rate / 60)), ""


def main(python):
    bad, ready = 0, "make run"
    for good, what, found, todo in check(python):
        bad += not good
        if found.startswith(OWN):
            ready = "jupyter lab notebooks"
        print("  %s %-12s %s%s" % ("✓" if good else "✗", what, found, "" if good else "  ->  " + todo), flush=True)
    print("ready: " + ready if not bad else "%d thing%s to do first" % (bad, "" if bad == 1 else "s"))
    return int(bad > 0)


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    sys.exit(main(sys.argv[1]))
