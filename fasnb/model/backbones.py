"""The backbones: stems and residual stages of the three families, and one backbone cut after a stage (``Branch``).

``stage1`` to ``stage4`` are res1 to res4 of the paper. Images are float tensors (N, 3, H, W), normalised with the
mean and deviation in ``BACKBONES``. The paper works at 112 x 112 pixels; ``small_images=True`` is the variant for
images below about 64 pixels.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fasnb.paper.recipe import Normalisation


@dataclass(frozen=True)
class BackboneSpec:
    """What one backbone is: its family of blocks, residual blocks per stage, the input normalisation it expects."""

    family: str  # "resnet" (He et al. 2016), "face" (27 convolutions with PReLU), "ir" (face.evoLVe, Deng et al. 2019)
    blocks: tuple[int, int, int, int]
    normalisation: Normalisation
    expansion: int = 1  # output channels of a block per channel of its 3x3 convolution


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))  # what the released options use
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

BACKBONES = {
    "resnet18": BackboneSpec("resnet", (2, 2, 2, 2), IMAGENET),
    "resnet34": BackboneSpec("resnet", (3, 4, 6, 3), IMAGENET),
    "resnet50": BackboneSpec("resnet", (3, 4, 6, 3), IMAGENET, expansion=4),
    "face_resnet34": BackboneSpec("face", (1, 2, 5, 3), CIFAR),
    "ir50": BackboneSpec("ir", (3, 4, 14, 3), HALF),
}


NARROW = {"prelu": 16, "norm": 8}
"""Below how many channels of a pixel the kernels that go pixel by pixel are slower than ours, on an AMD EPYC. A vector of
that CPU takes 16 numbers; PyTorch's batch norm makes fewer passes over memory than ours, and so is as fast at 8."""


class PReLU(nn.PReLU):
    """PyTorch's PReLU, one slope per channel, with a backward pass that is vectorised on CPUs as well.

    The values are the same; PyTorch 2.14's own CPU kernel takes five times as long for the gradients.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        slope = self.weight.to(x.dtype)
        if _narrow(x, "prelu"):
            return _images(_PReLU.apply(_lines(x), slope.repeat(x.shape[3])), x.shape)
        return _PReLU.apply(x, slope) if torch.is_grad_enabled() else torch.prelu(x, slope)


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return torch.prelu(x, slope)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        # ReLU's gradient; torch.where on a mask says the same and takes far longer on a CPU
        where_positive = torch.ops.aten.threshold_backward(gradient, x, 0)
        where_negative = gradient - where_positive
        per_channel, others = (slope, 0) if x.ndim == 2 else (slope.view(1, -1, 1, 1), (0, 2, 3))
        of_x = where_positive.addcmul_(where_negative, per_channel)
        return of_x, where_negative.mul_(x).sum(dim=others)


class BatchNorm2d(nn.BatchNorm2d):
    """PyTorch's batch norm, which trains faster on a CPU where there are few channels; equal up to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.momentum is None or not _narrow(x, "norm"):
            return super().forward(x)
        y, mean, variance = _BatchNorm.apply(x, self.weight, self.bias, self.eps)
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return y


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        lines, repeats, count = _lines(x), x.shape[3], x.numel() // len(weight)
        mean = _by_channel(lines, len(weight)) / count
        centred = lines - mean.repeat(repeats)
        variance = _by_channel(centred.square(), len(weight)) / count
        inverse = (variance + eps).rsqrt()
        ctx.save_for_backward(centred, weight, inverse)
        ctx.mark_non_differentiable(mean, variance)
        y = torch.empty_like(x)  # no view, because a ReLU may overwrite it
        torch.addcmul(bias.repeat(repeats), centred, (weight * inverse).repeat(repeats), out=_lines(y))
        return y, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, *_) -> tuple[Tensor, Tensor, Tensor, None]:
        centred, weight, inverse = ctx.saved_tensors
        lines, repeats, count = _lines(gradient), gradient.shape[3], gradient.numel() // len(weight)
        of_bias, product = (_by_channel(part, len(weight)) for part in (lines, lines * centred))
        scale = weight * inverse
        shift, slope = -scale * of_bias / count, -scale * inverse.square() * product / count
        of_x = torch.addcmul(shift.repeat(repeats), lines, scale.repeat(repeats))
        of_x.addcmul_(centred, slope.repeat(repeats))
        return _images(of_x, gradient.shape), product * inverse, of_bias, None


def _narrow(x: Tensor, layer: str) -> bool:
    """Whether to work on lines: float32 on a CPU, few channels, last in memory."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
        return False
    return x.shape[1] < NARROW[layer] and x.is_contiguous(memory_format=torch.channels_last)


def _lines(images: Tensor) -> Tensor:
    """(N, C, H, W), channels last in memory -> (N H, W C): every row of pixels one vector. A view."""
    count, channels, height, width = images.shape
    return images.permute(0, 2, 3, 1).reshape(count * height, width * channels)


def _images(lines: Tensor, shape: torch.Size) -> Tensor:
    """The way back, a view."""
    count, channels, height, width = shape
    return lines.view(count, height, width, channels).permute(0, 3, 1, 2)


def _by_channel(lines: Tensor, channels: int) -> Tensor:
    """(N H, W C) -> sums (C,)."""
    return lines.sum(dim=0).view(-1, channels).sum(dim=0)


class Shortcut(nn.Conv2d):
    """A 1x1 convolution with a stride: takes every stride-th pixel, then mixes the channels. Numbers as ``nn.Conv2d``. Its
    kernel is never called: in channels-last memory oneDNN's gradient of its weights (issue 6035 there) writes past its
    workspace where the input has fewer channels than a vector of the processor.
    """

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.stride
        return functional.conv2d(x[:, :, ::rows, ::columns], self.weight, self.bias)  # folding gives it a bias


class FaceBlock(nn.Module):
    """Residual block of the face resnet-34: the input is added after the second PReLU, not before it."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = BatchNorm2d(channels)
        self.relu1 = PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(channels)
        self.relu2 = PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        return x + self.relu2(self.bn2(self.conv2(out)))


class IRUnit(nn.Module):
    """Improved residual unit (Deng et al. 2019, ArcFace): batch norm first, the stride in the second convolution."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        if in_channels == channels:
            self.shortcut = nn.MaxPool2d(1, stride)
        else:
            self.shortcut = nn.Sequential(Shortcut(in_channels, channels, 1, stride, bias=False), BatchNorm2d(channels))
        self.residual = nn.Sequential(
            BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False),
            BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


def _resnet_stage(in_channels: int, planes: int, stride: int, count: int, expansion: int) -> nn.Sequential:
    # here, because it takes a second that few processes need
    from torchvision.models.resnet import BasicBlock, Bottleneck

    block, out_channels = BasicBlock if expansion == 1 else Bottleneck, planes * expansion
    downsample = None
    if stride != 1 or in_channels != out_channels:
        downsample = nn.Sequential(
            Shortcut(in_channels, out_channels, 1, stride, bias=False), BatchNorm2d(out_channels)
        )
    first = block(in_channels, planes, stride, downsample, norm_layer=BatchNorm2d)
    others = [block(out_channels, planes, norm_layer=BatchNorm2d) for _ in range(count - 1)]
    return nn.Sequential(first, *others)


def _face_stage(in_channels: int, channels: int, padding: int, count: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=padding, bias=False),
        BatchNorm2d(channels),
        PReLU(channels),
        nn.MaxPool2d(2, 2),
        *[FaceBlock(channels) for _ in range(count)],
    )


def _ir_stage(in_channels: int, channels: int, stride: int, count: int) -> nn.Sequential:
    first = IRUnit(in_channels, channels, stride)
    return nn.Sequential(first, *[IRUnit(channels, channels, 1) for _ in range(count - 1)])


@dataclass(frozen=True)
class Stages:
    """The stages of one backbone at one width and depth, and the stem before them; its methods make them.

    ``width`` multiplies every number of channels. ``blocks`` is the number of residual blocks per stage (None: the
    backbone's own). ``small_images`` takes a padded 3x3 stem and 16 times downsampling in all: the resnets lose
    their max-pooling, IR-50 moves stage 1's stride into its stem, the face resnet-34 pads every convolution.
    """

    backbone: str
    width: float = 1.0
    blocks: tuple[int, int, int, int] | None = None
    small_images: bool = False

    def __post_init__(self):
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone {self.backbone!r} is unknown; choose one of {', '.join(BACKBONES)}")
        if not self.width > 0 or (64 * self.width) % 2:
            raise ValueError(f"width {self.width!r} must make 64 * width a positive even number, such as 1.0 or 0.125")
        if self.blocks is not None and (len(self.blocks) != 4 or any(type(n) is not int or n < 1 for n in self.blocks)):
            raise ValueError(f"blocks {self.blocks!r} must be four whole numbers of at least 1, such as (1, 1, 1, 1)")

    @property
    def spec(self) -> BackboneSpec:
        return BACKBONES[self.backbone]

    @property
    def depths(self) -> tuple[int, int, int, int]:
        """Residual blocks of stages 1 to 4."""
        return self.blocks or self.spec.blocks

    def channels(self, stage: int) -> int:
        """Output channels of ``stage``; stage 0 is the stem."""
        base = int(64 * self.width)
        if stage == 0:
            return base // 2 if self.spec.family == "face" else base
        return base * 2 ** (stage - 1) * self.spec.expansion

    def stem(self) -> nn.Sequential:
        """What stands before stage 1: convolution, batch norm, activation (the resnets: and max-pooling)."""
        channels, small, family = self.channels(0), self.small_images, self.spec.family
        if family == "resnet" and not small:
            conv = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        elif family == "face":
            conv = nn.Conv2d(3, channels, 3, padding=int(small), bias=False)
        else:
            conv = nn.Conv2d(3, channels, 3, stride=2 if small else 1, padding=1, bias=False)
        act = nn.ReLU(inplace=True) if family == "resnet" else PReLU(channels)
        layers = [("conv", conv), ("norm", BatchNorm2d(channels)), ("act", act)]
        if family == "resnet" and not small:
            layers.append(("pool", nn.MaxPool2d(3, stride=2, padding=1)))
        return nn.Sequential(OrderedDict(layers))

    def stage(self, number: int, in_channels: int | None = None) -> nn.Sequential:
        """Residual stage ``number`` (1 to 4); ``in_channels`` where it does not follow the stage before it."""
        in_channels = in_channels or self.channels(number - 1)
        channels, count = self.channels(number), self.depths[number - 1]
        if self.spec.family == "face":
            return _face_stage(in_channels, channels, int(self.small_images), count)
        if self.spec.family == "ir":
            return _ir_stage(in_channels, channels, 1 if number == 1 and self.small_images else 2, count)
        expansion, stride = self.spec.expansion, 1 if number == 1 else 2
        return _resnet_stage(in_channels, channels // expansion, stride, count, expansion)


class Branch(nn.Module):
    """The stem and the first ``last`` stages of a backbone: what one modality passes before the fusion."""

    def __init__(self, stages: Stages, last: int):
        super().__init__()
        self.last = last
        self.stem = stages.stem()
        for number in range(1, last + 1):
            self.add_module(f"stage{number}", stages.stage(number))

    def levels(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> outputs of stages 1 to ``last``, each (N, C_l, H_l, W_l)."""
        x = self.stem(images)
        outputs = []
        for number in range(1, self.last + 1):
            x = self.get_submodule(f"stage{number}")(x)
            outputs.append(x)
        return outputs


class Backbone(Branch):
    """One whole backbone (stem and four stages) for pretraining on a source task; images -> (N, embedding size).

    Its state dict initialises a ``ThreeBranchNetwork`` of the same stages, see ``fasnb.model.weights.initialise``.
    """

    def __init__(
        self,
        name: str,
        width: float = 1.0,
        blocks: tuple[int, int, int, int] | None = None,
        small_images: bool = False,
    ):
        stages = Stages(name, width, blocks, small_images)
        super().__init__(stages, last=4)
        self.stages = stages
        self.embedding_size = stages.channels(4)
        self.apply(initial_weights)

    def forward(self, images: Tensor) -> Tensor:
        return global_average_pool(self.levels(images)[-1])


def global_average_pool(features: Tensor) -> Tensor:
    """Global average pool, (N, C, H, W) -> (N, C)."""
    return features.mean(dim=(2, 3))


def initial_weights(module: nn.Module) -> None:
    """He et al. 2015 for the convolutions; everything else keeps PyTorch's defaults."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
