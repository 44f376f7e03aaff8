"""The self-checks of the notebooks' exercises, and `predict`, which asks for a guess before a result.

Each check looks at an answer and prints one line: "✓ …" with what follows from it, or "✗ …" with what is wrong. None of them
raises, so that a notebook with unsolved exercises still runs from top to bottom. The worked solutions are in
`notebooks/solutions/`.
"""

from .lesson_01 import check_images, check_parameters, check_twins
from .lesson_02 import check_largest, check_random, check_unread
from .lesson_03 import check_cut_weights, check_most_left, check_silent
from .lesson_04 import check_troubles, check_two_rounds
from .lesson_05 import check_relative, check_rescaled
from .lesson_06 import check_first_emptied, check_spared
from .lesson_07 import check_half_the_macs, check_parameters_lost
from .lesson_08 import check_flaws, check_without_blocks
from .lesson_09 import check_equal_epochs, check_round_amount, check_schedule
from .lesson_10 import check_csr_break_even, check_small_file
from .lesson_11 import check_accuracy, check_macs, check_same_outputs
from .prediction import predict
