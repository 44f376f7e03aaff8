"""Run every grid again from scratch on CIFAR-10 (`make reproduce`): rows go to build/reproduced/, the committed ones stay as they are.

Stopped at any moment, the same command goes on.
"""

import sys

import experiments.__main__ as command
from helpers.data import REPOSITORY


def main(arguments: list[str]) -> None:
    everything = ["all", "--out", str(REPOSITORY / "build" / "reproduced"), *arguments]
    command.main([*everything, "--dry-run"])
    command.main(everything)


if __name__ == "__main__":
    main(sys.argv[1:])
