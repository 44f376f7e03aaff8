"""The networks of the collection: `CifarNet` in any width, and a trio of small fully connected ones.

Introduced in notebooks 01 (`CifarNet`) and 05 (the trio).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from .data import check

# Mean and standard deviation of CIFAR-10's training images per colour channel, in 0..1
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the input is carried: relu(x + f(x)). [N, C, H, W] -> [N, C, H, W].

    Its input and output have one shape, so a trained network still runs when the block is dropped.
    Source: the basic block of ResNet (He et al. 2016, arXiv:1512.03385).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.bn2.weight)  # a new block passes its input through (Goyal et al. 2017, arXiv:1706.02677)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)), inplace=True)  # in place: the same values, less memory
        return relu(self.bn2(self.conv2(out)).add_(x), inplace=True)


class Stage(nn.Module):
    """A convolution to more channels, pooling to half the resolution, then residual blocks `block1`, `block2`, …

    [N, Cin, H, W] -> [N, Cout, H/2, W/2]
    """

    def __init__(self, channels_in: int, channels_out: int, blocks: int):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.bn = nn.BatchNorm2d(channels_out)
        for k in range(1, blocks + 1):
            self.add_module(f"block{k}", ResidualBlock(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.bn(self.pool(self.conv(x))), inplace=True)
        for name, block in self.named_children():
            if name.startswith("block"):
                x = block(x)
        return x


class CifarNet(nn.Module):
    """A residual network for 32x32 images: float images [N, 3, 32, 32] in 0..1 -> logits [N, 10].

    `conv1`, three stages of 1, 2 and 2 residual blocks (the five that notebook 05 drops) and one linear layer.
    Images are normalized inside, with buffers. Max pooling after each stage's first convolution and at the end follows
    the fast CIFAR-10 networks of Page (2018, "How to train your ResNet") and Jordan (2024, arXiv:2404.00498).

    Args:
        width: factor on all channel counts, in (0, 4]. 1.0 (the checkpoint): 1.5 M parameters and 98 M MACs;
            0.5 (the experiments): 0.4 M parameters and 25 M MACs.

    Example:
        >>> CifarNet(width=0.5)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    channels = (32, 64, 96, 160)  # at width 1.0: after conv1 and after each stage
    blocks = (1, 2, 2)  # residual blocks per stage

    def __init__(self, width: float = 1.0, classes: int = 10):
        super().__init__()
        ok = isinstance(width, int | float) and not isinstance(width, bool) and 0 < width <= 4
        check(ok, "width", width, "a number in (0, 4]")
        self.width = float(width)
        c0, c1, c2, c3 = (max(1, round(width * c)) for c in self.channels)
        self.register_buffer("mean", torch.tensor(CIFAR10_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(CIFAR10_STD).view(1, 3, 1, 1))
        self.conv1 = nn.Conv2d(3, c0, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c0)
        self.stage1 = Stage(c0, c1, self.blocks[0])
        self.stage2 = Stage(c1, c2, self.blocks[1])
        self.stage3 = Stage(c2, c3, self.blocks[2])
        self.pool = nn.MaxPool2d(4)  # [N, 160, 4, 4] -> [N, 160, 1, 1]
        self.fc = nn.Linear(c3, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = (images - self.mean) / self.std
        x = relu(self.bn1(self.conv1(x)), inplace=True)  # [N, 32, 32, 32] at width 1.0
        x = self.stage1(x)  # [N, 64, 16, 16]
        x = self.stage2(x)  # [N, 96, 8, 8]
        x = self.stage3(x)  # [N, 160, 4, 4]
        return self.fc(self.pool(x).flatten(1))


class SimpleNet(nn.Module):
    """A small fully connected network: images [N, 3, 32, 32] are flattened; inputs-256-128-64-10, `layer1` … `layer4`.

    Example:
        >>> SimpleNet()(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    hidden = (256, 128, 64)

    def __init__(self, inputs: int = 3 * 32 * 32, classes: int = 10):
        super().__init__()
        sizes = (inputs, *self.hidden, classes)
        for k, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False), start=1):
            self.add_module(f"layer{k}", nn.Linear(n_in, n_out))

    def forward(self, images: Tensor) -> Tensor:
        *hidden, last = self.children()
        x = images.flatten(1)
        for layer in hidden:
            x = relu(layer(x))
        return last(x)


class DepthPrunedNet(SimpleNet):
    """`SimpleNet` with one layer fewer (its `layer3` removed): inputs-256-128-10."""

    hidden = (256, 128)


class WidthPrunedNet(SimpleNet):
    """`SimpleNet` with its second hidden layer half as wide: inputs-256-64-64-10."""

    hidden = (256, 64, 64)


def fit_sizes(module: nn.Module) -> None:
    """Let the sizes that a layer states follow the shape of its weight."""
    for kind, names in (
        (nn.Conv2d, ("out_channels", "in_channels")),
        (nn.Linear, ("out_features", "in_features")),
        (nn.BatchNorm1d | nn.BatchNorm2d, ("num_features",)),
    ):
        if isinstance(module, kind):
            for name, size in zip(names, module.weight.shape, strict=False):
                setattr(module, name, size)
