"""Execute the notebooks: into build/run/ (`make run`), or in place with outputs to commit (`make outputs`)."""

import base64
import os
import re
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from helpers.data import REPOSITORY, replacing

NOTEBOOKS = REPOSITORY / "notebooks"
TARGET = REPOSITORY / "build" / "run"
CELL_TIMEOUT = 3 * 3600  # the longest cell trains the checkpoint at the full budget
DIRTY = re.compile(r"(?<![\w.])(?:/(?:home|root|tmp|Users|work|opt)/|[A-Z]:\\)[\w.]")


def execute(source: Path, target: Path, threads: int) -> float:
    """Run a notebook in a fresh kernel and write it, outputs included, to `target`; returns its seconds."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    notebook = nbformat.read(source, as_version=4)
    for folder in (target.parent, TARGET):
        folder.mkdir(parents=True, exist_ok=True)
    place = {"metadata": {"path": target.parent}}
    quiet = ["--log-level=ERROR"]  # the kernel's remark on unencrypted transport, once a notebook
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT, kernel_name="python3", resources=place, extra_arguments=quiet)
    start = time.perf_counter()
    try:
        client.execute()
    except CellExecutionError as error:
        nbformat.write(notebook, TARGET / f"{source.stem}-failed.ipynb")
        raise RuntimeError(str(error)) from None
    seconds = time.perf_counter() - start
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # time stamps would make every refresh a change
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    if source == target and (problems := unfit(notebook)):
        nbformat.write(notebook, TARGET / source.name)
        raise RuntimeError(f"not stored, outputs are not fit to commit: {'; '.join(problems)} (see build/run/{source.name})")
    with replacing(target) as beside:
        nbformat.write(notebook, beside)
    return seconds


def unfit(notebook) -> list[str]:
    """What must not be committed in a notebook's outputs: warnings, progress bars, paths of this machine."""
    problems = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            text = output.get("text", "") + "".join(str(v) for k, v in output.get("data", {}).items() if k.startswith("text/"))
            if output.get("name") == "stderr":
                problems.append(f"cell {number} writes to stderr: {text[:80]!r}")
            if DIRTY.search(text):
                problems.append(f"cell {number} shows a path of this machine: {DIRTY.search(text).group()!r}")
            if any("widget-view" in key for key in output.get("data", {})):
                problems.append(f"cell {number} holds a widget")
    return problems


def harvest(path: Path) -> list[tuple[str, str, str]]:
    """Write a notebook's figures and tables to files of their own; returns (kind, title, file) for each."""
    made = []
    heading = path.stem
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            heading = ([heading] + re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE))[-1]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            name = f"{path.stem[:2]}-{len(made) + 1:02}"
            if "image/png" in data:
                title = output.metadata.get("image/png", {}).get("alt", heading)
                made.append(("figure", title, f"figures/{name}.png"))
                content = base64.b64decode(data["image/png"])
            elif "<table" in data.get("text/html", ""):
                made.append(("table", heading, f"tables/{name}.html"))
                content = data["text/html"].encode()
            else:
                continue
            file = TARGET / made[-1][2]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return made


def run() -> int:
    """Every notebook on the embedded data, several at a time; returns the number of failures."""
    shutil.rmtree(TARGET, ignore_errors=True)
    sources = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    cores = os.cpu_count() or 1
    workers = min(len(sources), cores)
    made, failures = {}, 0
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(execute, source, TARGET / source.name, cores // workers): source for source in sources}
        for job in as_completed(jobs):
            source = jobs[job]
            try:
                print(f"  {source.stem:<32} {job.result():6.1f} s", flush=True)
                made[source] = harvest(TARGET / source.name)
            except Exception as error:
                failures += 1
                print(f"  {source.stem:<32} FAILED\n{error}", flush=True)
    if made:
        print(f"\nmade in {TARGET.relative_to(REPOSITORY)}/ (on the digits; committed files are untouched):")
    for source in sorted(made):
        for kind, title, name in made[source]:
            short = title if len(title) <= 76 else title[:75] + "…"
            print(f"  {kind:<6}  {source.stem[:2]}  {short:<76}  {name}")
    return failures


def outputs(names: list[str]) -> None:
    """Refresh the committed outputs of the named notebooks (all by default) and of their solutions, one after the other."""
    for source in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")) + sorted(NOTEBOOKS.glob("solutions/[0-9]*.ipynb")):
        if not names or {source.stem, source.stem[:2]} & set(names):
            print(f"  {source.relative_to(NOTEBOOKS)!s:<42} {execute(source, source, os.cpu_count() or 1):6.1f} s", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "run":
        sys.exit(min(run(), 1))
    outputs(sys.argv[2:])
