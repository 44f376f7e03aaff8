"""The self-checks of notebook 07."""

import math
from collections.abc import Sequence

from scipy.stats import ttest_ind, ttest_rel

from .answers import Wrong, number, self_check


@self_check("put the chance there, a share in 0..1")
def check_false_alarm(answer: float) -> str:
    """The chance of at least one false alarm in eight independent tests at 5 %."""
    answer, right = number(answer), 1 - 0.95**8
    if math.isclose(answer, right, abs_tol=0.005):
        return f"1 - 0.95 ** 8 = {right:.1%}: in one of three such studies something would be found where nothing is"
    if math.isclose(answer, 0.05, abs_tol=0.005):
        raise Wrong("5 % is the chance in one test; here are eight chances of it")
    if math.isclose(answer, 0.4, abs_tol=0.005):
        raise Wrong("8 times 5 % counts studies with two false alarms twice; how likely is it that none of the eight raises one?")
    if math.isclose(answer, 1 - right, abs_tol=0.005):
        raise Wrong("that is the chance that none of the eight raises an alarm; the question is the opposite")
    raise Wrong("one test raises no alarm with a chance of 0.95; how likely is it that none of eight does?")


@self_check("put the two half widths there: (paired, unpaired), in points")
def check_pairing(answer: Sequence[float], a: Sequence[float], b: Sequence[float]) -> str:
    """Half widths of the 95 % interval of a - b in points, paired by seed and as if the samples were independent."""
    try:
        answers = dict(zip(("paired", "unpaired"), map(number, answer), strict=True))
    except (TypeError, ValueError):
        raise Wrong(f"two numbers are wanted, (paired, unpaired); this is {str(answer)[:60]}") from None
    wanted = {}
    for name, test in (("paired", ttest_rel), ("unpaired", ttest_ind)):
        interval = test(a, b).confidence_interval()
        wanted[name] = 50 * (interval.high - interval.low)
    right = {name: math.isclose(value, wanted[name], rel_tol=0.05) for name, value in answers.items()}
    if all(right.values()):
        as_seeds = (wanted["unpaired"] / wanted["paired"]) ** 2
        told = f"pairing is worth as much as {as_seeds:.1f} times the seeds" if as_seeds > 1.1 else "here pairing helps little"
        return f"±{wanted['paired']:.2f} paired and ±{wanted['unpaired']:.2f} unpaired: {told}"
    if all(
        math.isclose(value, other, rel_tol=0.05) for value, other in zip(answers.values(), reversed(wanted.values()), strict=True)
    ):
        raise Wrong("the other way round: (paired, unpaired)")
    name = next(name for name, good in right.items() if not good)
    for factor, told in (
        (0.01, "is a share; in points it is a hundred times as much"),
        (2, "is the whole width; half of it is wanted"),
    ):
        if math.isclose(answers[name], factor * wanted[name], rel_tol=0.05):
            raise Wrong(f"{name}: {answers[name]:g} {told}")
    hint = {
        "paired": "take each seed's difference, then the standard error of these, times Student's t with n - 1 degrees of freedom",
        "unpaired": "take the root of the sum of both squared standard errors, times Student's t with 2n - 2 degrees of freedom",
    }
    raise Wrong(f"{name}: {answers[name]:.3f} is off; {hint[name]}")
