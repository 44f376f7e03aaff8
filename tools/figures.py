"""Redraw all of images/ from the measured rows in results/ (`make figures`); trains nothing, byte-stable on one machine."""

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

matplotlib.use("Agg")

from helpers import plots  # noqa: E402
from helpers.data import REPOSITORY  # noqa: E402

# figure: (results files that it is drawn from, function of helpers.plots)
FIGURES: dict[str, tuple[tuple[str, ...], Callable[..., Figure]]] = {
    "sparsity_curve": (("sparsity_curve",), plots.sparsity_curve)
}


def draw(name: str, results: Path) -> Figure:
    """One figure, from the rows in the folder `results`."""
    sources, function = FIGURES[name]
    return function(*(pd.read_csv(results / f"{source}.csv") for source in sources))


def main(results: Path = REPOSITORY / "results", images: Path = REPOSITORY / "images") -> None:
    images.mkdir(parents=True, exist_ok=True)
    for name, (sources, _) in FIGURES.items():
        missing = [source for source in sources if not (results / f"{source}.csv").exists()]
        if missing:
            print(f"  {name}: not drawn, {', '.join(missing)} has no rows yet")
            continue
        draw(name, results).savefig(images / f"{name}.png", metadata={"Software": None})
        print(f"  {name}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
