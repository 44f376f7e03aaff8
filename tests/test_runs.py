"""What single runs do."""

import torch

from experiments.runs import bridge_layer
from helpers import DepthPrunedNet, SimpleNet


def outputs(model, images):
    with torch.no_grad():
        return model.eval()(images)


def test_the_bridge_is_exact_where_it_can_be():
    """Where the removed layer is linear on what comes in (all its units positive), one layer replaces two exactly."""
    torch.manual_seed(0)
    model = SimpleNet()
    with torch.no_grad():
        for parameter in (model.layer3.weight, model.layer3.bias):
            parameter.abs_()
    images = torch.randint(256, (400, 3, 32, 32), dtype=torch.uint8)
    shallow = bridge_layer(model, images)
    assert isinstance(shallow, DepthPrunedNet)
    assert (outputs(model, images.float() / 255) - outputs(shallow, images.float() / 255)).abs().max() < 1e-3
