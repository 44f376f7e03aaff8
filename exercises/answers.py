"""What all self-checks share: how an answer is looked at and how the verdict is told."""

import functools
import math
from collections.abc import Callable
from numbers import Real

from torch import Tensor, nn


class Wrong(Exception):
    """What is wrong with an answer, in the words that the reader sees."""


def self_check(wanted: str) -> Callable:
    """Make a check that returns what is right, or raises `Wrong`, print its verdict and never raise.

    Args:
        wanted: what to do where the answer (the first argument) is still None.

    Example:
        >>> @self_check("put a number where it says None")
        ... def check_two(answer):
        ...     if answer != 2:
        ...         raise Wrong(f"{answer} is not two")
        ...     return "two"
        >>> check_two(3)
        ✗ 3 is not two
    """

    def decorate(check: Callable[..., str]) -> Callable[..., None]:
        @functools.wraps(check)
        def told(answer, *others) -> None:
            try:
                print("✗ nothing there yet:", wanted) if answer is None else print("✓", check(answer, *others))
            except Wrong as wrong:
                print("✗", wrong)
            except Exception as error:
                print(f"✗ your answer stops the check with {type(error).__name__}: {error}")

        return told

    return decorate


def number(answer) -> float:
    if isinstance(answer, Tensor) and answer.numel() == 1:
        answer = answer.item()
    if isinstance(answer, bool) or not isinstance(answer, Real) or not math.isfinite(answer):
        raise Wrong(f"one number is wanted, this is {type(answer).__name__}: {str(answer)[:60]}")
    return answer


def as_model(answer, what: str) -> nn.Module:
    if not isinstance(answer, nn.Module):
        raise Wrong(f"{what} is wanted, this is {type(answer).__name__}")
    return answer


def count(tensors) -> int:
    return sum(tensor.numel() for tensor in tensors)


def points(share: float) -> str:
    return f"{100 * share:.2f} points"
