"""The numbers of the documents come from rows, and the commands that documents name exist."""

import importlib.util
import re

import pandas as pd
import pytest
from statsmodels.stats.power import TTestPower

import tasks
from experiments.benchmarks.pruned_speed import WHOLE, speed_ups
from experiments.figures import METHODS
from experiments.grids import GLOBAL, GRIDS, LAYERWISE
from experiments.networks import SEEDS
from experiments.stats import mean_ci, paired_difference
from experiments.tables import (
    DEPTH,
    SCHEDULES,
    SHAPE,
    TARGETS,
    WIDTH,
    advise,
    by_seed,
    difference_and_equivalence,
    mistakes,
    on_gpu,
    time_shares,
    whole_seeds,
)
from helpers import CifarNet, count_macs, load_network, read_results
from helpers.data import REPOSITORY
from helpers.sensitivity import amount_for_drop

PATHS = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
OVERLAPS = ["overlap_one_shot", "overlap_by_chance", "overlap_other_seed"]  # columns of `gradual_pruning`
DOCUMENTS = {path.name: path.read_text(encoding="utf-8") for path in PATHS}

# Each function below works a few claims of one document out again from the rows: numbers, with as many words as tell them apart,
# or whole lines of tables.


def signed(difference):
    """A difference of accuracies in points."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def points(gap):
    """Points of accuracy with half of their 95 % interval."""
    return f"{signed(gap.mean)} ± {100 * gap.margin:.1f}"


def cell(runs, reference):
    """A mean accuracy, and in brackets its paired difference from the reference."""
    return f"{runs.mean():.1%} ({points(paired_difference(runs.dropna(), reference.dropna()))})"


def short_cell(runs, reference):
    """`cell`; of fewer than three runs without an interval, which two would leave dozens of points wide."""
    if len(runs) > 2:
        return cell(runs, reference)
    return f"{runs.mean():.1%} ({signed((runs - reference).mean())})"


def line(*cells):
    return f"| {' | '.join(cells)} |"


def protocol(rows):
    """Seeds, epochs, steps and rate, which all rows share."""
    ((epochs, steps, size, rate),) = rows[["epochs", "steps", "batch_size", "lr"]].drop_duplicates().to_numpy()
    return f"{rows.seed.nunique()} seeds, {epochs:g} epochs ({steps:,.0f} steps of {size:g} images), peak rate {rate:g}"


def first_picture():
    rows = whole_seeds(read_results("official/criteria"))
    networks = rows.seed.nunique()
    yield f"{networks} half-width networks" if networks > 1 else "One half-width network"
    ends = rows[rows.target_sparsity.isin((0, 0.95))].query("scope == 'global'").groupby("method").mean(numeric_only=True)
    magnitude, chance = ends.loc["magnitude"], ends.loc["random"]
    yield f"{magnitude.test_accuracy_before:.1%} of the test images when the smallest weights are removed"
    yield f"{chance.test_accuracy_before:.1%} when the same number is removed at random"
    yield f"to {magnitude.test_accuracy:.1%} and {chance.test_accuracy:.1%}"
    yield f"dense and trained as long: {ends.test_accuracy['dense']:.1%}"


def takeaways():
    rows = whole_seeds(read_results("official/criteria")).query("steps > 0 and target_sparsity in (0, 0.95)")
    ends = rows.groupby(["scope", "method"]).test_accuracy.mean()
    best, taylor, random, dense = (ends["global", name] for name in ("magnitude", "taylor", "random", "dense"))
    yield f"magnitude leaves {best:.1%}, Taylor scores {taylor:.1%}, random choice {random:.1%} (dense: {dense:.1%})"
    yield f"one global threshold leaves {best:.1%}, the same share from each layer {ends['layer', 'magnitude']:.1%}"
    rows = read_results("official/recalibration").query("epochs == 0 and method == 'filters_l1'")
    yield f"scores {rows.test_accuracy_before.mean():.1%}; with BatchNorm's statistics measured anew, and no training, {rows.test_plain.mean():.1%}"
    kinds = read_results("deploy").groupby("network").mean(numeric_only=True)
    masked, half = kinds.loc["half width, 90% masked"], kinds.loc["half width"]
    time = masked.time_share_1 / half.time_share_1
    yield f"takes {time:.0%} of its dense time, and falls from {half.test_accuracy:.1%} to {masked.test_accuracy:.1%}"
    rows = read_results("depth_width").query("width == 1 and blocks in (0, 2)").fillna({"dropped": "", "share": 1.0})
    means = rows.join(time_shares(read_results("depth_width_speed")), on=SHAPE).groupby("method").mean(numeric_only=True)
    depth, width = means.loc[DEPTH], means.loc[WIDTH]
    yield f"takes {depth.time:.0%} of the time at {depth.test_accuracy:.1%} accuracy"
    yield f"takes {width.time:.0%} at {width.test_accuracy:.1%} (dense: {means.test_accuracy['dense']:.1%})"
    arms = schedules(read_results("gradual_vs_instant"))
    equal, cubic = (100 * (arms[name] - arms["one_shot"])[0.98].mean() for name in ("equal_steps_8", "cubic_8"))
    yield f"equal portions ends {-equal:.1f} points lower and pruning much at first (cubic) {cubic:.1f} points higher"
    shares = kinds / kinds.loc["dense"]
    quick, small = shares.loc["dense, int8"], shares.loc["without 2 blocks, int8"]
    lost = 100 * (kinds.test_accuracy["dense"] - kinds.test_accuracy)
    yield f"{quick.time_share_1:.0%} of the time for one image and {quick.zipped_bytes:.0%} of the bytes ({lost['dense, int8']:.1f}"
    yield f"{small.time_share_1:.0%} and {small.zipped_bytes:.0%} ({lost['without 2 blocks, int8']:.1f} lost)"


def training_speed():
    yield "**{test_accuracy:.1%}** test accuracy after {epochs} epochs".format_map(load_network().facts)
    speed = read_results("train_speed")
    usual = speed[speed.method == "usual loop"].median(numeric_only=True)
    ours = speed[speed.method == "helpers.train"].groupby(["precision", "width"]).median(numeric_only=True)
    products = speed[speed.method == "matrix product"].groupby("precision").flops_per_second.median()
    yield line("the usual loop, fp32", f"{usual.seconds:.0f} s", "1", "1", "", "")
    for precision in ("fp32", "bf16"):
        half = ours.loc[precision, 0.5]
        ratios = (usual.seconds / half.seconds, half.images_per_second / usual.images_per_second)
        flops = 6 * ours.images_per_second[precision] / products[precision]
        shares = [f"{flops[width] * count_macs(CifarNet(width)):.0%}" for width in (0.5, 1.0)]
        yield line(f"`helpers.train`, {precision}", f"{half.seconds:.0f} s", *map("{:.1f}".format, ratios), *shares)
    images = speed[speed.width == 0.5].groupby("method").images.median()
    yield f"after {images['helpers.train']:,.0f} images, the usual loop after {images['usual loop']:,.0f}"
    jobs = read_results("sweep_speed").groupby("jobs")[["runs_per_hour", "overhead"]].median()
    yield f"{jobs.runs_per_hour[2] / jobs.runs_per_hour[1]:.2f} times the runs per hour of one"
    yield f"takes {jobs.overhead[1]:.2%} of a run"


def recalibration():
    everything = read_results("official/recalibration")
    tuned, rows = (everything[everything.epochs == epochs] for epochs in (1, 0))
    yield f"{rows.seed.nunique()} of 5 seeds"
    for name, method in (("magnitude, global, 95%", "magnitude"), ("whole filters by norm, 20%", "filters_l1")):
        arm = tuned[tuned.method == method].set_index("seed")
        assert len(arm) == rows.seed.nunique()
        yield line(name, f"{arm.test_accuracy.mean():.1%}", cell(arm.test_plain, arm.test_accuracy))
    arms = {"dense": ("dense", 0.0)} | {
        f"magnitude, global, {level:.0%}": ("magnitude", level) for level in (0.5, 0.8, 0.9, 0.95)
    }
    arms |= {"whole filters by norm, 20%": ("filters_l1", 0.2), "whole filters at random, 20%": ("filters_random", 0.2)}
    for name, (method, level) in arms.items():
        arm = rows[(rows.method == method) & (rows.target_sparsity == level)].set_index("seed")
        before, plain = arm.test_accuracy_before, arm.test_plain
        yield line(name, f"{before.mean():.1%}", cell(plain, before), cell(arm.test_augmented, plain))


def by_rate(rows, arms):
    """A table's head and lines: mean validation accuracies by arm (a name for each row) and level, a column a peak rate."""
    means = rows.pivot_table(index=[arms.rename("arm"), "target_sparsity"], columns="lr", values="val_accuracy")
    yield line("peak rate", *(f"{rate:g}" for rate in means))
    for (arm, level), accuracies in means.iterrows():
        yield line(f"{arm}, {level:.0%}" if level else arm, *(f"{value:.1%}" if value > 0 else "" for value in accuracies))


def learning_rates():
    made = read_results("networks").groupby("width").seed.nunique()
    yield f"{made.get(0.5, 0)} of {SEEDS[0.5]} of half width, {made.get(1.0, 0)} of {SEEDS[1.0]} of width 1.0"
    rows = read_results("official/pilot")
    yield f"{rows.seed.nunique()} of 2 pilot seeds, {len(rows)} runs"
    yield from by_rate(rows, rows.method.where(rows.method != "magnitude", rows.schedule.map(SCHEDULES)))
    rows = read_results("official/pilot_criteria")
    scopes = rows.scope.map({"global": ", global", "layer": ", layer by layer"})
    yield from by_rate(rows, rows.method.map(lambda method: METHODS[method]["label"]) + scopes)


def criteria():
    rows = whole_seeds(read_results("official/criteria"))
    yield f"{rows.seed.nunique()} of {GRIDS['criteria'].seeds} seeds"
    tuned = rows[rows.steps > 0]
    scopes = {"global": ("global", GLOBAL[1:]), "layer": ("layer by layer", LAYERWISE)}
    stages = {
        "recalibrated": (rows, "test_accuracy_recalibrated", "{:.1%} without pruning"),
        "fine-tuned": (tuned, "test_accuracy", "trained as long: {:.1%}"),
    }
    for title, (some, column, of_dense) in stages.items():
        accuracy = some.pivot(index="seed", columns=["scope", "method", "target_sparsity"], values=column).sort_index(axis=1)
        best = accuracy["global", "magnitude"]
        yield line(title, *(f"{level:.0%}" for level in best))
        yield line("magnitude, global", *(f"{best[level].mean():.1%}" for level in best))
        for scope, (words, methods) in scopes.items():
            for method in methods:
                cells = [short_cell(accuracy[scope, method][level], best[level]) for level in best]
                yield line(f"{METHODS[method]['label']}, {words}", *cells)
        yield of_dense.format(accuracy["global", "dense", 0.0].mean())
    chance, shuffled = (accuracy["global", name].mean() for name in ("random", "shuffled magnitude"))
    kept = (shuffled - chance) / (best.mean() - chance)
    yield f"they keep {kept[0.8]:.0%} at 80 %, {kept[0.95]:.0%} at 95 % and {kept[0.98]:.0%} at 98 %"
    seconds = rows.groupby("method").prune_seconds.median()
    yield f"{seconds['gradient']:.1f} s instead of {seconds['magnitude']:.2f} s"


def both(before, after):
    """Accuracies right after pruning and recalibrated."""
    return [f"{a:.1%} → {b:.1%}" for a, b in zip(before, after, strict=True)]


def whole(seeds):
    """The rows of `recalibration` of these seeds' dense networks, not fine-tuned."""
    return read_results("official/recalibration").query("method == 'dense' and epochs == 0").set_index("seed").loc[seeds]


STAGES = ["accuracy_before", "accuracy_recalibrated"]


def sensitivity():
    rows = whole_seeds(read_results("official/sensitivity"))
    seeds = sorted(rows.seed.unique())
    yield f"{len(seeds)} of {GRIDS['sensitivity'].seeds} seeds"
    dense = whole(seeds).accuracy_before
    yield f"whole, the network has {dense.mean():.1%}"
    firsts = ["conv1", "stage1.conv", "stage2.conv", "stage3.conv"]
    for method, names in (("magnitude", [*firsts, "fc"]), ("channels", firsts)):
        scans = [rows[rows.method == method].pivot_table(stage, "layer", "target_sparsity") for stage in STAGES]
        inside = scans[0].index.str.contains("block")
        kinds = {f"`{name}`": [scan.loc[name] for scan in scans] for name in names}
        kinds["these four, mean"] = [scan.loc[firsts].mean() for scan in scans]
        kinds[f"the {inside.sum()} inside residual blocks, mean"] = [scan[inside].mean() for scan in scans]
        for name, pair in kinds.items():
            yield line(name, *both(*pair))
    amounts = {stage: [] for stage in STAGES}
    for stage in STAGES:
        for seed in seeds:
            scan = rows[(rows.method == "channels") & (rows.seed == seed)].pivot(
                index="layer", columns="target_sparsity", values=stage
            )
            scanned = {name: list(accuracies) for name, accuracies in scan.iterrows()}
            amounts[stage].append(amount_for_drop(0.02, scanned, tuple(scan.columns), dense[seed]))
    widths = pd.DataFrame({stage: pd.DataFrame(some).mean() for stage, some in amounts.items()})
    for name, pair in widths.iterrows():
        yield line(f"`{name}`", *map("{:.0%}".format, pair))


def builtin_methods():
    rows = whole_seeds(read_results("official/builtin_methods"))
    yield f"{rows.seed.nunique()} of {GRIDS['builtin_methods'].seeds} seeds"
    dense = whole(sorted(rows.seed.unique()))
    yield f"whole, the network has {dense.test_accuracy_before.mean():.1%} → {dense.test_plain.mean():.1%}"
    stages = [rows.pivot_table(f"test_{stage}", "method", "target_sparsity") for stage in STAGES]
    for method in stages[0].index:
        yield line(f"`{method}`", *both(*(stage.loc[method] for stage in stages)))


def depth_and_width():
    rows = read_results("depth_width").query("width == 1").fillna({"dropped": "", "share": 1.0})
    yield protocol(rows)
    cpu, gpu = read_results("depth_width_speed"), read_results("depth_width_speed_gpu").query("precision == 'fp32'")
    places = {"cpu_1": (cpu, 1), "cpu_256": (cpu, 256), "gpu_1": (gpu, 1), "gpu_4096": (gpu, 4096)}
    for place, (times, size) in places.items():
        rows = rows.join(time_shares(times, size).add_prefix(f"{place}_"), on=SHAPE)
    dense = rows[rows.method == "dense"].set_index("seed").test_accuracy
    yield line("dense", "100%", *["100%"] * 4, f"{dense.mean():.1%}")
    for (method, k), runs in rows[rows.blocks > 0].groupby(["method", "blocks"]):
        name = f"{k} block{'s' if k > 1 else ''}"
        mean = runs.mean(numeric_only=True)
        costs = [f"{mean[f'{p}_time']:.0%} ({mean[f'{p}_low']:.0%} to {mean[f'{p}_high']:.0%})" for p in places]
        name = f"without {name}" if method == DEPTH else f"narrower, MACs as without {name}"
        yield line(name, f"{mean.macs / mean.dense_macs:.0%}", *costs, cell(runs.set_index("seed").test_accuracy, dense))
    accuracy = rows[rows.blocks == 2].pivot(index="seed", columns="method", values="test_accuracy")
    yield f"width minus depth is {points(paired_difference(accuracy[WIDTH], accuracy[DEPTH]))} points"


def speed_of_half_the_channels():
    rows = read_results("pruned_speed")
    macs = rows.groupby("network").macs.first()
    fewer = macs["dense"] / macs["half the channels"]
    yield f"{fewer:.1f} times fewer MACs"
    by = speed_ups(rows).groupby(["precision", "batch_size", "threads"]).agg(["median", "min", "max"])
    for precision in ("fp32", "bf16"):
        for size in (256, 1):
            cells = []
            for threads in (1, 2):
                middle, low, high = by.loc[precision, size, threads]
                cells += [f"{middle:.1f} ({low:.1f} to {high:.1f})", f"{middle / fewer:.2f}"]
            yield line(precision, str(size), *cells)
    parts = rows[rows.part != WHOLE].groupby(["batch_size", "threads", "part", "network"]).median_ms.median().unstack()
    gain = parts["dense"] / parts["half the channels"]
    yield f"{gain[1, 1, 'convolution']:.1f} times faster on 1 thread and {gain[1, 2, 'convolution']:.1f} times on 2"


def schedules(rows, late=0.6):
    """Accuracy of each schedule, a row a seed and a column a sparsity; without variants, last pruning at the share `late`."""
    rows = rows[rows.variant.isna() & (rows.until == late) & (rows.method != "dense")]
    return {schedule: by_seed(runs) for schedule, runs in rows.groupby("schedule")}


def gradual_or_instant():
    rows, checks = read_results("gradual_vs_instant"), read_results("gradual_checks")
    cases = {
        "half width": rows,
        "width 1.0": read_results("gradual_vs_instant_wide"),
        "twice the rate": checks[checks.epochs == 3],
        "four times the epochs": checks[checks.epochs == 12],
    }
    for case, some in cases.items():
        yield protocol(some[some.variant.isna() & (some.method != "dense")])
        arms = schedules(some)
        instant, equal, cubic = arms["one_shot"], arms["equal_steps_8"], arms["cubic_8"]
        for level in instant if some is rows else (0.9, 0.95, 0.98):
            cells = (f"{instant[level].mean():.1%}", cell(equal[level], instant[level]), cell(cubic[level], instant[level]))
            yield line(*([] if some is rows else [case]), f"{level:.0%}", *cells)
    arms = schedules(rows)
    says = difference_and_equivalence(arms["equal_steps_8"], arms["one_shot"], bound=0.003).says
    assert [*says] == ["equivalent"] * 3 + ["undecided"] + ["different"] * 4
    early, instant = schedules(rows, late=0.3), arms["one_shot"]
    for name, schedule in (("equal", "equal_steps_8"), ("cubic", "cubic_8")):
        cells = [cell(early[schedule][level], instant[level]) for level in (0.9, 0.95, 0.98)]
        yield line(f"{name}, last pruning at 30 %", *cells)
    smallest = {}
    for level in instant:
        spread = (arms["equal_steps_8"] - instant)[level].dropna()
        effect = TTestPower().solve_power(nobs=len(spread), alpha=0.05 / len(instant.columns), power=0.8)
        smallest[level] = 100 * effect * spread.std(ddof=1)
    yield f"{min(smallest.values()):.1f} to {max(smallest.values()):.1f} points, depending on the sparsity"
    for name, gaps in mistakes(rows).items():
        yield line(name, *(points(gap) for gap in gaps))
    rows = read_results("gradual_pruning")
    arms = schedules(rows)
    for level in (0.9, 0.98):
        instant = arms["one_shot"][level]
        cells = [cell(arms[f"equal_steps_{rounds}"][level], instant) for rounds in (2, 4, 8)]
        yield line(f"{level:.0%}", f"{instant.mean():.1%}", *cells)
    overlap = rows[rows.schedule == "equal_steps_8"].groupby("target_sparsity")[OVERLAPS].mean()
    for level in (0.9, 0.98):
        yield line(f"{level:.0%}", *map("{:.2f}".format, overlap.loc[level]))


def fair_schedules():
    rows = whole_seeds(read_results("official/gradual_vs_instant"))
    yield f"{rows.seed.nunique()} of {GRIDS['gradual_vs_instant'].seeds} seeds"
    accuracy = rows.pivot(index="seed", columns=["schedule", "target_sparsity"], values="test_accuracy")
    instant = accuracy["one_shot"]
    yield line("instant", *(f"{instant[level].mean():.1%}" for level in instant))
    for schedule, name in SCHEDULES.items():
        if schedule != "one_shot":
            yield line(name, *(short_cell(accuracy[schedule][level], instant[level]) for level in instant))
    yield f"trained as long: {accuracy['none'][0.0].mean():.1%}"


def from_scratch():
    rows = read_results("depth_width").query("width == 0.5")
    yield protocol(rows[rows.method.str.startswith("width")])
    yield protocol(rows[rows.method == "from scratch"])
    accuracy = rows.pivot(index="seed", columns=["method", "share"], values="test_accuracy")
    dense = accuracy["dense"].iloc[:, 0]
    for share in (0.75, 0.5, 0.25):
        uniform = accuracy["width, uniform", share]
        others = [cell(accuracy[method, share], uniform) for method in ("width, guided", "from scratch")]
        yield line(f"{share:.0%}", cell(uniform, dense), *others)
    for method, ends in read_results("official/by_hand").groupby("method").test_accuracy.apply(mean_ci).items():
        yield line(method, f"{ends.mean:.1%} ± {100 * ends.margin:.1f}")
    rows = read_results("gradual_vs_instant")
    instant = schedules(rows)["one_shot"]
    for variant, name in (("random mask", "a random mask, kept weights"), ("re-initialised", "magnitude's mask, new weights")):
        masked = by_seed(rows[rows.variant == variant])
        yield line(name, *(f"{masked[k].mean():.1%} ({points(paired_difference(masked[k], instant[k]))})" for k in masked))


def shipping():
    rows = read_results("deploy")
    yield f"{rows.network.nunique()} kinds of networks, {rows.seed.nunique()} seeds each"
    runs = rows.set_index("seed").groupby("network")
    of = {name: some[["time_share_1", "time_share_256", "zipped_bytes", "test_accuracy"]] for name, some in runs}
    shown = ["dense", "without 2 blocks", "narrower, MACs as without 2 blocks", "half width"]
    for name in [*shown, *(f"{name}, int8" for name in shown), "half width, 90% masked", "half width, 98% masked"]:
        dense = of["half width" if name.startswith("half") else "dense"].test_accuracy
        shares = (of[name].mean() / of["dense"].mean()).drop("test_accuracy")
        accuracy = of[name].test_accuracy
        yield line(name, *map("{:.0%}".format, shares), f"{accuracy.mean():.1%}" if name in shown[::3] else cell(accuracy, dense))


CLAIMS = {
    "README.md": (first_picture, takeaways),
    "RESULTS.md": (
        training_speed, recalibration, learning_rates, criteria, sensitivity, builtin_methods, depth_and_width, speed_of_half_the_channels,
        gradual_or_instant, fair_schedules, from_scratch, shipping,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("document", "claims"), [(name, claims) for name, some in CLAIMS.items() for claims in some])
def test_numbers_are_those_of_the_rows(document, claims):
    text = DOCUMENTS[document].replace("\n", " ")
    assert [claim for claim in claims() if claim not in text] == []


def test_choices_follow_from_the_rows():
    """What is named first costs least, or as little; second costs less than the dense network; the last costs more or loses more."""
    rows = read_results("deploy")
    gpu = on_gpu(rows, read_results("depth_width"), read_results("depth_width_speed_gpu"))
    means = rows.groupby("network")[["time_share_1", "test_accuracy"]].mean().T
    half, dense = means["half width, int8"], means["dense"]
    text = f"{half.time_share_1 / dense.time_share_1:.0%} of the dense network's time for one image, "
    assert text + f"at {half.test_accuracy:.1%} instead of {dense.test_accuracy:.1%}" in DOCUMENTS["CHOOSING.md"].replace(
        "\n  ", " "
    )
    rows = pd.concat([rows, gpu])
    for target in TARGETS:
        good = advise(rows, target)[0].query("width == 1").set_index("network")
        known = advise(rows, target, points=100)[0].set_index("network")
        (text,) = re.findall(rf"^\| {target} \| (.+) \|$", DOCUMENTS["CHOOSING.md"], re.MULTILINE)
        if known.empty:
            assert text.startswith("not measured")
            continue
        for choice in text.split(" | "):
            of = known.loc[choice.split(":")[0]]
            assert choice == f"{of.name}: {of.share:.0%}, {of.lost:.1f} ± {of.margin:.1f}"
        first, second, neither = (choice.split(":")[0] for choice in text.split(" | "))
        assert good.share[first] <= good.share.min() + 0.05 and good.share[second] < 1
        assert known.share[neither] > 1 or neither not in good.index


def test_named_commands_exist():
    for name, text in DOCUMENTS.items():
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= set(tasks.COMMANDS), name
        for module in re.findall(r"python -m ((?:experiments|helpers|tools)[\w.]*\w)", text):
            assert importlib.util.find_spec(module), f"{name}: python -m {module}"
        for grid in re.findall(r"python -m experiments (\w+)", text):
            assert grid in (*GRIDS, "NAME", "all", "merge"), f"{name}: python -m experiments {grid}"


@pytest.mark.parametrize("path", sorted((REPOSITORY / "results").glob("*.csv")), ids=lambda path: path.name)
def test_rows_are_single_runs(path):
    assert not pd.read_csv(path).duplicated().any()
