"""The networks: `CifarNet` in any width (lesson 01), three small fully connected ones (07) and two public ResNets."""

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pad, relu

from .data import PUBLIC_WEIGHTS, check, public_weights

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)  # of the training images per color channel, in 0..1
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the input is carried: relu(x + f(x)). [N, C, H, W] -> [N, C, H, W].

    With `stride` 2 it halves the resolution and doubles the channels: x is then every second pixel, between channels of zeros
    (option A). Source: He et al. 2015 (arXiv:1512.03385).
    """

    def __init__(self, channels: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels // stride, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        nn.init.zeros_(self.bn2.weight)  # a new block passes its input through (Goyal et al. 2017, arXiv:1706.02677)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)), inplace=True)  # in place: the same values, less memory
        if self.stride == 2:
            x = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, x.shape[1] // 2, x.shape[1] // 2))
        return relu(self.bn2(self.conv2(out)).add_(x), inplace=True)


class Stage(nn.Module):
    """[N, Cin, H, W] -> [N, Cout, H/2, W/2]: a convolution, pooling, then residual blocks `block1`, `block2`, …"""

    def __init__(self, channels_in: int, channels_out: int, blocks: int):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.bn = nn.BatchNorm2d(channels_out)
        for k in range(1, blocks + 1):
            self.add_module(f"block{k}", ResidualBlock(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.bn(self.pool(self.conv(x))), inplace=True)
        for block in list(self.children())[3:]:
            x = block(x)
        return x


class CifarNet(nn.Module):
    """A residual network for 32x32 images: float images [N, 3, 32, 32] in 0..1 -> logits [N, 10].

    `conv1`, three stages of 1, 2 and 2 residual blocks (the five that lesson 08 drops) and one linear layer. `width` is a
    factor on all channel counts. 1.0 (the checkpoint): 1.5 M parameters, 98 M MACs; 0.5 (most rows): 0.4 M, 25 M. Images are
    normalized inside. Max pooling after each stage's first convolution and at the end follows the fast CIFAR-10 networks of
    Page (2018, "How to train your ResNet") and Jordan (2024, arXiv:2404.00498).
    """

    channels = (32, 64, 96, 160)  # at width 1.0: after conv1 and after each stage

    def __init__(self, width: float = 1.0, classes: int = 10):
        super().__init__()
        check(0 < width <= 4, "width", width, "a number in (0, 4]")
        self.width = float(width)
        self.architecture = {"width": self.width, "classes": classes}
        c0, c1, c2, c3 = (max(1, round(width * c)) for c in self.channels)
        self.register_buffer("mean", torch.tensor(CIFAR10_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(CIFAR10_STD).view(1, 3, 1, 1))
        self.conv1 = nn.Conv2d(3, c0, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c0)
        self.stage1 = Stage(c0, c1, blocks=1)
        self.stage2 = Stage(c1, c2, blocks=2)
        self.stage3 = Stage(c2, c3, blocks=2)
        self.pool = nn.MaxPool2d(4)
        self.fc = nn.Linear(c3, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = (images - self.mean) / self.std
        x = relu(self.bn1(self.conv1(x)), inplace=True)  # [N, 32, 32, 32] at width 1.0
        x = self.stage1(x)  # [N, 64, 16, 16]
        x = self.stage2(x)  # [N, 96, 8, 8]
        x = self.pool(self.stage3(x))  # [N, 160, 4, 4] -> [N, 160, 1, 1]
        return self.fc(x.flatten(1))


class SimpleNet(nn.Module):
    """A small fully connected network: images [N, 3, 32, 32] are flattened; inputs-256-128-64-10, `layer1` … `layer4`."""

    hidden = (256, 128, 64)

    def __init__(self, inputs: int = 3 * 32 * 32, classes: int = 10):
        super().__init__()
        self.architecture = {"inputs": inputs, "classes": classes}
        sizes = (inputs, *self.hidden, classes)
        for k in range(1, len(sizes)):
            self.add_module(f"layer{k}", nn.Linear(sizes[k - 1], sizes[k]))

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


class CifarResNet(nn.Module):
    """A ResNet for CIFAR-10 (He et al. 2015, section 4.2): float images [N, 3, 32, 32] in 0..1 -> logits [N, 10].

    Three stages of `blocks` residual blocks with 16, 32 and 64 channels. Names and normalization are those of the public weights
    (github.com/akamaster/pytorch_resnet_cifar10).
    """

    def __init__(self, blocks: int):
        super().__init__()
        self.architecture = {"blocks": blocks}
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[ResidualBlock(16) for _ in range(blocks)])
        self.layer2 = nn.Sequential(ResidualBlock(32, stride=2), *[ResidualBlock(32) for _ in range(blocks - 1)])
        self.layer3 = nn.Sequential(ResidualBlock(64, stride=2), *[ResidualBlock(64) for _ in range(blocks - 1)])
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1((images - self.mean) / self.std)), inplace=True)  # [N, 16, 32, 32]
        x = self.layer3(self.layer2(self.layer1(x)))  # [N, 64, 8, 8]
        return self.linear(adaptive_avg_pool2d(x, 1).flatten(1))


def resnet20(pretrained: bool = False) -> CifarResNet:
    """ResNet-20: 0.27 M parameters. Its public weights (`make data`) classify 91.7 % of CIFAR-10's test images."""
    return _with_weights(CifarResNet(3), PUBLIC_WEIGHTS[0]) if pretrained else CifarResNet(3)


def resnet56(pretrained: bool = False) -> CifarResNet:
    """ResNet-56: 0.85 M parameters. Its public weights (`make data`) classify 93.4 % of CIFAR-10's test images."""
    return _with_weights(CifarResNet(9), PUBLIC_WEIGHTS[1]) if pretrained else CifarResNet(9)


def _with_weights(model: CifarResNet, file: str) -> CifarResNet:
    state = torch.load(public_weights(file), map_location="cpu", weights_only=True)["state_dict"]
    model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return model.eval()
