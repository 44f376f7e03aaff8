"""`make stress`: the properties that matter most, tried many more times than in the tests; a table, and results/stress.csv.

It takes an hour or two on two cores. Every check is a test of tests/, which reads from PRUNING_STRESS how often to try.
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


def main() -> int:
    """Run all checks; returns the number that failed or tried nothing."""
    os.environ |= {"PRUNING_STRESS": str(EXAMPLES), "PRUNING_LONG": "1", "PRUNING_DATA": "digits", "TQDM_DISABLE": "1"}
    rows = []
    for claim, (tests, trials) in CHECKS.items():
        count, start = Count(), time.perf_counter()
        pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *tests], plugins=[count])
        passed, failed, skipped = count.outcomes.values()
        seconds = round(time.perf_counter() - start)
        rows.append(
            {
                "check": claim,
                "trials": passed * trials,
                "failed": failed,
                "skipped": skipped,
                "seconds": seconds,
                "date": date.today(),
            }
        )
        print(f"\n{claim}: {passed * trials:,} trials, {failed} tests failed, {skipped} skipped, {seconds} s\n", flush=True)
    with open(OUT, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    for row in rows:
        print(f"{'✗' if row['failed'] or not row['trials'] else '✓'} {row['trials']:>6,}  {row['check']}")
    return sum(bool(row["failed"]) or not row["trials"] for row in rows)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
