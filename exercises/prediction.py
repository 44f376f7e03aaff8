"""A question before a result: whoever likes guesses, and the cell that shows the result says how far off the guess was."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real


@dataclass
class Guess:
    """One of the answers, or a number where there are none to choose from; `value` is None where nobody guessed."""

    answers: Sequence[str]
    unit: str
    value: str | float | None = None

    def compare(self, result: str | float) -> None:
        """Print the result, and how far the guess is from it. A number must have the question's unit."""
        right = self.write(self.read("result", result))
        if self.value is None:
            print(f"The answer: {right}.")
        elif self.write(self.value) == right:
            print(f"You guessed {right}: right.")
        elif self.answers:
            print(f"You guessed {self.value}. The answer is {right}.")
        else:
            distance = self.write(abs(self.value - result)).replace("%", "points")
            print(f"You guessed {self.write(self.value)}. The answer is {right}: your guess is {distance} off.")

    def read(self, name: str, given: str | float) -> str | float:
        """A guess or a result: an answer, by its text or by its number from 1 on; any number where there are no answers."""
        choices = dict(enumerate(self.answers, start=1)) | {answer: answer for answer in self.answers}
        if given in choices:
            return choices[given]
        if isinstance(given, Real) and not choices:
            return float(given)
        raise ValueError(f"{name}={given!r}: must be {f'one of {list(choices)}' if choices else 'a number'}")

    def write(self, value: str | float) -> str:
        """An answer as it is; a number with its unit and one decimal, or with three digits where it is below 1."""
        if isinstance(value, str):
            return value
        digits = f"{value:.3g}" if abs(value) < 1 else f"{value:,.1f}".removesuffix(".0")
        return f"{digits} {self.unit}".rstrip()


def predict(question: str, answers: Sequence[str] = (), unit: str = "", guess: str | float | None = None) -> Guess:
    """Ask before a result is shown; without a guess the notebook goes on all the same.

    Example:
        >>> accuracy = predict("Accuracy without 90 % of the weights?", unit="%", guess=40)
        Accuracy without 90 % of the weights? (a number, in %)
        >>> accuracy.compare(67.3)
        You guessed 40 %. The answer is 67.3 %: your guess is 27.3 points off.
    """
    prompt = Guess(answers, unit)
    print(f"{question} (a number, in {unit})" if unit else question)
    for number, answer in enumerate(answers, start=1):
        print(f"  {number}: {answer}")
    prompt.value = None if guess is None else prompt.read("guess", guess)
    return prompt
