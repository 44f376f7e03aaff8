"""The self-checks of lesson 10."""

import copy
import gzip
import io
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from helpers import evaluate
from helpers.data import Split

from .answers import Wrong, number, self_check


@self_check("put the sparsity there, a share in 0..1")
def check_csr_break_even(answer: float) -> str:
    """Where values and column numbers of 4 bytes each take as much as a dense matrix."""
    share = number(answer)
    if not 0 <= share <= 1:
        raise Wrong(f"{share} is no share between 0 and 1")
    if abs(share - 0.5) < 0.01:
        return "half of the weights, at twice the bytes each; with column numbers of 8 bytes it would be two thirds"
    if abs(share - 2 / 3) < 0.01:
        raise Wrong("that is right for column numbers of 8 bytes, PyTorch's default; here they have 4")
    csr, dense = 8 * (1 - share), 4
    raise Wrong(f"at {share:.0%} CSR takes {csr:.1f} bytes for each weight of the matrix, dense {dense}: they should be equal")


@self_check("put a state_dict there")
def check_small_file(answer: Mapping[str, Tensor], model: nn.Module, sample: Split) -> str:
    """A state_dict with a quarter of the zipped bytes, at most two points worse."""
    wanted = model.state_dict()
    if not isinstance(answer, Mapping) or not all(isinstance(value, Tensor) for value in answer.values()):
        raise Wrong("a state_dict is wanted: network.state_dict(), with its tensors changed or not")
    if any(name.endswith("_mask") for name in answer):
        raise Wrong("there are masks in it: make_permanent first, zeros are enough")
    if answer.keys() != wanted.keys() or any(answer[name].shape != value.shape for name, value in wanted.items()):
        raise Wrong("its names and shapes are not those of CifarNet(); keep the network's shape, change the numbers")
    sizes = []
    for state in (wanted, answer):
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        sizes.append(len(gzip.compress(buffer.getvalue())))
    share = sizes[1] / sizes[0]
    network = copy.deepcopy(model)
    network.load_state_dict({name: value.to(wanted[name].dtype) for name, value in answer.items()})
    dense, accuracy = evaluate(model, sample).accuracy, evaluate(network, sample).accuracy
    told = f"{share:.0%} of the bytes, {accuracy:.1%} instead of {dense:.1%}"
    if share > 0.25:
        half = any(value.dtype in (torch.float16, torch.bfloat16) for value in answer.values())
        raise Wrong(
            f"{told}: still too large; " + ("prune more" if half else "zeros zip well, and a number need not take 4 bytes")
        )
    if accuracy < dense - 0.02:
        raise Wrong(f"{told}: too much is lost; prune less, and store the rest in fewer bytes")
    return f"{told}: pruning and fewer bits multiply"
