"""`predict`: anybody may guess, nobody has to, and the result is compared with the guess."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exercises import predict, prediction

ANSWERS = ("a tenth", "half", "the same", "twice")
NUMBERS = st.floats(-1e9, 1e9)


def test_the_example_in_the_docstring():
    assert doctest.testmod(prediction) == (0, 2)


@given(guess=st.none() | st.integers(1, 4) | st.sampled_from(ANSWERS), result=st.sampled_from(ANSWERS))
def test_any_guess_among_answers_is_compared(guess, result, capsys):
    question = predict("How large is the file?", answers=ANSWERS, guess=guess)
    shown = capsys.readouterr().out
    assert all(answer in shown for answer in ANSWERS)
    question.compare(result)
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and result in line
    assert (": right." in line) == (guess in (result, ANSWERS.index(result) + 1))


@given(guess=st.none() | NUMBERS, result=NUMBERS)
def test_any_number_is_compared(guess, result, capsys):
    question = predict("How accurate is it?", unit="%", guess=guess)
    capsys.readouterr()
    question.compare(np.float64(result))
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and question.write(result) in line
    if "points off" in line:
        distance = float(line.split("your guess is ")[1].split(" points")[0].replace(",", ""))
        assert distance == pytest.approx(abs(guess - result), rel=5e-3, abs=0.05)


@pytest.mark.parametrize(("answers", "wrong"), [(ANSWERS, "a third"), (ANSWERS, 0), (ANSWERS, 5), ((), "many")])
def test_what_is_no_answer_is_refused(answers, wrong):
    allowed = r"one of \[1, 2, 3, 4, 'a tenth'" if answers else "a number"
    with pytest.raises(ValueError, match=f"guess={wrong!r}: must be {allowed}"):
        predict("How large is it?", answers=answers, guess=wrong)
    with pytest.raises(ValueError, match=f"result={wrong!r}: must be {allowed}"):
        predict("How large is it?", answers=answers).compare(wrong)
