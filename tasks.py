"""Every command of the collection: `make NAME`, or without make `python tasks.py NAME`.

Needs Python 3.11 or newer and nothing else: the first command makes `.venv` and installs the requirements into it.
"""

from __future__ import print_function

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(HERE, ".venv")
PROGRAM = os.path.join("Scripts", "python.exe") if os.name == "nt" else os.path.join("bin", "python")
PYTHON = os.path.join(VENV, PROGRAM)
STAMP = os.path.join(VENV, "installed")  # what is installed there; a .venv without it is not ours
UNFINISHED, CHANGING = "being made", "being changed"
BUILD = os.path.join(HERE, "build")
BOOK = os.path.join(BUILD, "book-env")  # the web book has an environment of its own, without PyTorch
OLDEST = (3, 11)
LAB = ("-m", "jupyterlab", "--LabApp.default_url=/lab/workspaces/lessons")
WORKSPACES = {"JUPYTERLAB_WORKSPACES_DIR": os.path.join(BUILD, "workspaces")}  # your own stay as they are


def fail(line):
    raise SystemExit("tasks: " + line)


def read(path):
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def stamp(text):
    with open(STAMP, "w", encoding="utf-8") as file:
        file.write(text)


def fingerprint(*names):
    """What an installation depends on: its requirement files, by default those of `.venv`."""
    import hashlib

    digest = hashlib.sha256()
    for name in names or ("requirements.txt", "constraints.txt", "pyproject.toml"):
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def refuse_old_python():
    if sys.version_info < OLDEST:
        numbers = OLDEST + (sys.version.split()[0],)
        fail("Python %d.%d or newer is needed, this is %s: make PYTHON=/path/to/python3.11" % numbers)


def works():
    """Does the Python of `.venv` run, and is it new enough?"""
    try:
        return not subprocess.call([PYTHON, "-c", "import sys; sys.exit(sys.version_info < %r)" % (OLDEST,)])
    except OSError:
        return False


def empty():
    """Remove all of an own `.venv` except its stamp, by which it stays ours when this is interrupted."""
    for name in os.listdir(VENV):
        path = os.path.join(VENV, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif path != STAMP:
            os.remove(path)


def setup():
    """Make `.venv` and install the tested versions, unless that has been done already.

    One that works is kept, whatever Python calls this: where a requirement file has changed, pip brings it up to date.
    """
    found = read(STAMP)
    if not found and os.path.lexists(VENV) and not (os.path.isdir(VENV) and not os.listdir(VENV)):
        fail(
            ".venv was not made here and is left alone: move it away, "
            "or activate it and pip install -r requirements.txt -c constraints.txt"
        )
    made = found not in ("", UNFINISHED) and works()
    if made and found == fingerprint():
        return
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "-r", "requirements.txt", "-c", "constraints.txt"]
    if made:
        stamp(CHANGING)
        commands = [pip]
    else:
        refuse_old_python()
        os.makedirs(VENV, exist_ok=True)
        stamp(UNFINISHED)
        empty()
        commands = [[sys.executable, "-m", "venv", VENV], pip]
    os.makedirs(BUILD, exist_ok=True)
    log = os.path.join(BUILD, "install.log")
    what = "bringing .venv up to date" if made else "installing into .venv: about 6 GB with PyTorch's CUDA parts, some minutes"
    print(what + " (log: build/install.log)", flush=True)
    with open(log, "w", encoding="utf-8") as out:
        for command in commands:
            if subprocess.call(command, cwd=HERE, stdout=out, stderr=subprocess.STDOUT):
                break
        else:
            stamp(fingerprint())
            return
    errors = [line.strip() for line in read(log).splitlines() if "error" in line.lower() or "apt install" in line]
    fail("the installation failed: %s (all of it: build/install.log)" % (errors[-1] if errors else "see the log"))


def call(*command, **environment):
    """Run a command in the environment; its exit status becomes ours."""
    code = subprocess.call(command, cwd=HERE, env=dict(os.environ, **environment))
    if code:
        raise SystemExit(code)


# ---- the commands


def check():
    """Is this machine ready? Python, packages, data, memory, disk and a 10-second training, in one table."""
    call(sys.executable, os.path.join("tools", "check.py"), PYTHON)


def run():
    """Execute every notebook on the embedded digits into build/run/."""
    call(PYTHON, "-m", "tools.notebooks", "run", PRUNING_DATA="digits", TQDM_DISABLE="1")


def test(*arguments):
    """Unit tests of helpers, and every notebook through nbval on the digits (further arguments go to pytest)."""
    call(
        PYTHON, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=1800", "-n", str(os.cpu_count() or 1),
        "--dist", "loadscope", "--no-loadscope-reorder", *(arguments or ("tests", "notebooks")),
        PRUNING_DATA=os.environ.get("PRUNING_DATA", "digits"), TQDM_DISABLE="1", OMP_NUM_THREADS="1",
    )  # fmt: skip


def test_all(*arguments):
    """The same, and what takes long: sweeps killed many times, a cluster, a server."""
    os.environ["PRUNING_LONG"] = "1"
    test(*arguments)


def stress():
    """Try the properties that matter most thousands of times (an hour or two); a table, and results/stress.csv."""
    call(PYTHON, "-m", "tools.stress")


def test_browser():
    """Run lessons 02, 03 and 11 in JupyterLab in a headless Chromium and read the web book, if it is built; screenshots in build/browser*/."""
    call(PYTHON, "-m", "pytest", "-q", "-rs", "tests/test_browser.py", "tests/test_book.py", PRUNING_BROWSER="1")


def lab():
    """Open JupyterLab on README, lesson 01 and the table of contents."""
    import_workspace = ("-m", "jupyterlab.labapp", "workspaces", "import", os.path.join("tools", "lessons.jupyterlab-workspace"))
    call(PYTHON, *import_workspace, **WORKSPACES)
    call(PYTHON, *LAB, **WORKSPACES)


def book():
    """Build the web book from the stored outputs into build/book/, in an environment of its own: nothing is executed."""
    needed = (os.path.join("docs", "requirements.txt"), os.path.join("docs", "constraints.txt"))
    python, installed = os.path.join(BOOK, PROGRAM), os.path.join(BOOK, "installed")
    if read(installed) != fingerprint(*needed):
        refuse_old_python()
        print("installing Sphinx and its theme into build/book-env (about 200 MB)", flush=True)
        shutil.rmtree(BOOK, ignore_errors=True)
        call(sys.executable, "-m", "venv", BOOK)
        call(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", needed[0], "-c", needed[1])
        with open(installed, "w", encoding="utf-8") as file:
            file.write(fingerprint(*needed))
    shutil.rmtree(os.path.join(BUILD, "book"), ignore_errors=True)
    places = ("-c", "docs", "-d", os.path.join("build", "book-cache"), ".", os.path.join("build", "book"))
    call(python, "-m", "sphinx", "-b", "html", "-E", "-j", "2", "-q", "-W", "--keep-going", *places)
    print("the book is in build/book/: open index.html", flush=True)


def data():
    """Get CIFAR-10 (162 MB) and two public ResNets (5 MB), all checked, into PRUNING_DATA_DIR, by default data/."""
    quiet = "import sys; sys.tracebacklimit = 0; "  # an error is its message
    call(PYTHON, "-c", quiet + "from helpers import load_dataset; print(load_dataset('cifar10', download=True))")


def outputs(*names):
    """Execute notebooks on CIFAR-10 at the full budget and store their outputs in the committed files."""
    call(PYTHON, "-m", "tools.notebooks", "outputs", *names, PRUNING_DATA="cifar10", PRUNING_BUDGET="full", TQDM_DISABLE="1")


def figures():
    """Redraw images/ from the rows in results/, without training."""
    call(PYTHON, "-m", "experiments.figures")


def reproduce(*arguments):
    """Run every grid again on CIFAR-10, from scratch, into build/reproduced/ (further arguments: --jobs N, --scheduler …)."""
    call(PYTHON, "-m", "tools.reproduce", *arguments, PRUNING_DATA="cifar10")


def audit():
    """Run one random row of each results file again; fails when test accuracy differs by more than 0.5 points."""
    call(PYTHON, "-m", "tools.audit", PRUNING_DATA="cifar10")


def bench():
    """Measure training against the loop that most tutorials ship, the experiment runner, and a pruned network."""
    call(PYTHON, "-m", "experiments.benchmarks.train_speed")
    call(PYTHON, "-m", "experiments.benchmarks.sweep_speed")
    call(PYTHON, "-m", "experiments.benchmarks.pruned_speed")


def lint():
    """Check code and notebooks with ruff, and print advice on style, which stops nothing."""
    call(PYTHON, "-m", "ruff", "check", ".")
    call(PYTHON, "-m", "ruff", "format", "--check", ".")
    call(PYTHON, "-m", "tools.style")


FUNCTIONS = (
    setup, check, run, test, test_all, test_browser, lab, book, data, outputs, figures, reproduce, audit, bench, stress, lint,
)  # fmt: skip
COMMANDS = {f.__name__.replace("_", "-"): f for f in FUNCTIONS}


def main(name=None, *arguments):
    if name not in COMMANDS:
        lines = ["  %-12s %s" % (key, f.__doc__.splitlines()[0]) for key, f in COMMANDS.items()]
        raise SystemExit("usage: python tasks.py NAME\n" + "\n".join(lines))
    if name not in ("check", "book"):  # they need nothing of it
        setup()
    COMMANDS[name](*arguments)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        raise SystemExit(130) from None
