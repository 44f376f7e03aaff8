"""`make stress`: the properties that matter most, tried many more times than in the tests; a table, and results/stress.csv.

All of them take an hour or two on two cores; `python -m tools.stress 1 5` runs those with these numbers. Every check is a test of
tests/, which reads from PRUNING_STRESS how often to try.
"""

import csv
import os
import sys
import time
from datetime import date

import pytest

from helpers.data import REPOSITORY

OUT = REPOSITORY / "results" / "stress.csv"
EXAMPLES = 2500
SURGERY, RUNNER = "tests/test_surgery.py::", "tests/test_runner.py::"
CUTS = ("test_cifar_net", "test_networks_of_torchvision[resnet18]", "test_networks_of_torchvision[mobilenet_v2]")
CHECKS = {  # what is claimed: (tests, trials in each of them)
    "a sweep killed at random moments, in mid-write too: every run once, the same rows": (
        [f"{RUNNER}test_killed_at_random_moments"],
        100,
    ),
    "random masks cut out of four networks: equal outputs, exact counts": (
        [SURGERY + name for name in (*CUTS, "test_fully_connected_networks")],
        EXAMPLES,
    ),
    "damaged, foreign or hostile input: refused by name, nothing overwritten or run": (["tests", "-m", "damage"], 1),
    "the same seed: the same bits": (["tests/test_training.py::test_the_seed_alone_decides"], 10),
    "two sweeps on one file: the second is refused": ([f"{RUNNER}test_a_second_sweep_or_a_bad_argument_writes_nothing"], 1),
    "a worker of a cluster is killed: its run is done elsewhere": ([f"{RUNNER}test_dask_cluster_survives_a_killed_worker"], 1),
    "JupyterLab keeps its token and listens on this machine alone": (["tests/test_lab.py"], 1),
}


class Count:
    """A pytest plugin that counts how many tests passed, failed and were skipped."""

    def __init__(self):
        self.outcomes = {"passed": 0, "failed": 0, "skipped": 0}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome] += 1


def main(*numbers: int) -> int:
    """Run the checks with these numbers (1, 2, …), by default all; returns how many failed or tried nothing.

    Each check's row is written as soon as it is done, in the place of its last one.
    """
    os.environ |= {"PRUNING_STRESS": str(EXAMPLES), "PRUNING_LONG": "1", "PRUNING_DATA": "digits", "TQDM_DISABLE": "1"}
    rows = {}
    if OUT.exists():
        with open(OUT, newline="", encoding="utf-8") as file:
            rows = {row["check"]: row for row in csv.DictReader(file) if row["check"] in CHECKS}
    chosen = [list(CHECKS)[number - 1] for number in numbers or range(1, len(CHECKS) + 1)]
    for check in chosen:
        tests, trials = CHECKS[check]
        count, start = Count(), time.perf_counter()
        pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *tests], plugins=[count])
        passed, failed, skipped = count.outcomes.values()
        row = {"check": check, "trials": passed * trials, "failed": failed, "skipped": skipped}
        rows[check] = row | {"seconds": round(time.perf_counter() - start), "date": date.today()}
        print(f"\n{check}: {row['trials']:,} trials, {failed} tests failed, {skipped} skipped\n", flush=True)
        with open(OUT, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, rows[check], lineterminator="\n")
            table.writeheader()
            table.writerows(rows[name] for name in CHECKS if name in rows)
    bad = [check for check in chosen if rows[check]["failed"] or not rows[check]["trials"]]
    for check in chosen:
        print(f"{'✗' if check in bad else '✓'} {rows[check]['trials']:>6,}  {check}")
    return len(bad)


if __name__ == "__main__":
    sys.exit(min(main(*map(int, sys.argv[1:])), 1))
