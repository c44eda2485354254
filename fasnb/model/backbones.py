"""The backbones: stems and residual stages of the four families, and one backbone cut after a stage (``Branch``).

``stage1`` to ``stage4`` are res1 to res4 of the paper. Images are float tensors (N, 3, H, W), normalised as in
``BACKBONES``. The paper works at 112 x 112 pixels; ``small_images=True`` is for images below about 64 pixels.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from fasnb.paper.recipe import Normalisation


@dataclass(frozen=True)
class BackboneSpec:
    """What one backbone is: its family of blocks, residual blocks per stage, the input normalisation it expects."""

    # "resnet" (He et al. 2016), "face" (27 convolutions with PReLU), "ir" (face.evoLVe, Deng et al. 2019), "dlib" (King
    # 2017: 29 convolutions, halved widths, shortcuts without weights)
    family: str
    blocks: tuple[int, int, int, int]
    normalisation: Normalisation


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))  # what the released options use
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DLIB = Normalisation((122.782 / 255, 117.001 / 255, 104.298 / 255), (256 / 255, 256 / 255, 256 / 255))

BACKBONES = {
    "resnet18": BackboneSpec("resnet", (2, 2, 2, 2), IMAGENET),
    "resnet34": BackboneSpec("resnet", (3, 4, 6, 3), IMAGENET),
    "face_resnet34": BackboneSpec("face", (1, 2, 5, 3), CIFAR),
    "ir50": BackboneSpec("ir", (3, 4, 14, 3), HALF),
    "dlib": BackboneSpec("dlib", (3, 4, 3, 4), DLIB),
}


class Shortcut(nn.Conv2d):
    """A 1x1 convolution with a stride: takes every stride-th pixel, then mixes the channels. Numbers as ``nn.Conv2d``.

    The kernel with a stride is never called: in channels-last memory oneDNN's gradient of its weights (its issue 6035)
    writes past its workspace where the input has fewer channels than a vector of the processor.
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x[:, :, :: self.stride[0], :: self.stride[1]], self.weight, self.bias)


class PReLU(nn.PReLU):
    """As ``nn.PReLU``, whose gradient takes longer on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda or not self.training:
            return super().forward(x)
        positive = functional.relu(x)
        return positive + self.weight.to(x.dtype).view(-1, 1, 1) * (x - positive)


class FaceBlock(nn.Sequential):
    """Residual block of the face resnet-34: the input is added after the second PReLU, not before it."""

    def __init__(self, channels: int):
        layers = {"conv1": _conv3x3(channels, channels), "bn1": nn.BatchNorm2d(channels), "relu1": PReLU(channels)}
        layers |= {"conv2": _conv3x3(channels, channels), "bn2": nn.BatchNorm2d(channels), "relu2": PReLU(channels)}
        super().__init__(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class IRUnit(nn.Module):
    """Improved residual unit (Deng et al. 2019, ArcFace): batch norm first, the stride in the second convolution."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        same = in_channels == channels
        self.shortcut = nn.MaxPool2d(1, stride) if same else _projection(in_channels, channels, stride)
        first = nn.BatchNorm2d(in_channels), _conv3x3(in_channels, channels), PReLU(channels)
        self.residual = nn.Sequential(*first, _conv3x3(channels, channels, stride), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class DlibBlock(nn.Module):
    """Residual block of dlib's face network. Where it halves the size (``down``) nothing is padded, as at 150 pixels.

    A map below 3 x 3 pixels, which dlib refuses and images below 103 pixels lead to, gets zeros at its lower and right
    edge first. The shortcut has no weights. Of three branches' channels it takes the sum, which is what repeating an
    identity three times along the input would give, as other weights are repeated (``fasnb.model.initialise``).
    """

    def __init__(self, in_channels: int, channels: int, down: bool, branches: int = 1):
        super().__init__()
        self.down, self.branches = down, branches
        self.conv1 = _conv3x3(in_channels, channels, *((2, 0) if down else (1, 1)))
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.down:
            x = _enlarged(x, x.shape[1], *(max(3, n) for n in x.shape[2:]))
        residual = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        shortcut = sum(x.chunk(self.branches, dim=1)) if self.branches > 1 else x
        if self.down:
            shortcut = functional.avg_pool2d(shortcut, 2)
            sizes = [max(pair) for pair in zip(residual.shape[1:], shortcut.shape[1:], strict=True)]
            residual, shortcut = _enlarged(residual, *sizes), _enlarged(shortcut, *sizes)
        return functional.relu(residual + shortcut)


def _enlarged(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """A map with zeros behind its channels, rows and columns up to these numbers."""
    return functional.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1]))


def _conv3x3(in_channels: int, channels: int, stride: int = 1, padding: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, stride, padding, bias=False)


def _projection(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Shortcut(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


@dataclass(frozen=True)
class Stages:
    """The stages of one backbone at one width and depth, and the stem before them; its methods make them.

    ``width`` multiplies every number of channels. ``blocks`` is the number of residual blocks per stage (None: the
    backbone's own). ``small_images`` takes a padded 3x3 stem and 16 times downsampling in all: the resnets lose
    their max-pooling, IR-50 moves stage 1's stride into its stem, the face resnet-34 pads every convolution. dlib's
    network keeps its 7x7 stem and, so that images of 64 pixels are large enough for it, loses its max-pooling.
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
        if self.spec.family == "dlib":
            return base // 2 * 2 ** max(0, stage - 1)
        if stage == 0:
            return base // 2 if self.spec.family == "face" else base
        return base * 2 ** (stage - 1)

    def stem(self) -> nn.Sequential:
        """What stands before stage 1: convolution, batch norm, activation (the resnets: and max-pooling)."""
        channels, small, family = self.channels(0), self.small_images, self.spec.family
        if family == "dlib" or family == "resnet" and not small:
            conv = nn.Conv2d(3, channels, 7, stride=2, padding=0 if family == "dlib" else 3, bias=False)
        else:
            face = family == "face"
            conv = _conv3x3(3, channels, stride=2 if small and not face else 1, padding=int(small or not face))
        act = nn.ReLU(inplace=True) if family in ("resnet", "dlib") else PReLU(channels)
        layers = {"conv": conv, "norm": nn.BatchNorm2d(channels), "act": act}
        if family in ("resnet", "dlib") and not small:
            layers["pool"] = nn.MaxPool2d(3, stride=2, padding=int(family == "resnet"))
        return nn.Sequential(OrderedDict(layers))

    def stage(self, number: int, in_channels: int | None = None) -> nn.Sequential:
        """Residual stage ``number`` (1 to 4); ``in_channels`` where it does not follow the stage before it."""
        in_channels = in_channels or self.channels(number - 1)
        channels, count, family = self.channels(number), self.depths[number - 1], self.spec.family
        if family == "resnet":
            from torchvision.models.resnet import BasicBlock  # takes a second that few processes need

            stride, same = 1 if number == 1 else 2, number == 1 and in_channels == channels
            downsample = None if same else _projection(in_channels, channels, stride)
            first = BasicBlock(in_channels, channels, stride, downsample)
            return nn.Sequential(first, *[BasicBlock(channels, channels) for _ in range(count - 1)])
        if family == "ir":
            first = IRUnit(in_channels, channels, 1 if number == 1 and self.small_images else 2)
            return nn.Sequential(first, *[IRUnit(channels, channels, 1) for _ in range(count - 1)])
        if family == "dlib":
            first = DlibBlock(in_channels, channels, number > 1, in_channels // self.channels(number - 1))
            last = [DlibBlock(channels, channels, number == 4 and n == count - 1) for n in range(1, count)]
            return nn.Sequential(first, *last)
        conv, norm = _conv3x3(in_channels, channels, padding=int(self.small_images)), nn.BatchNorm2d(channels)
        blocks = [FaceBlock(channels) for _ in range(count)]
        return nn.Sequential(conv, norm, PReLU(channels), nn.MaxPool2d(2, 2), *blocks)


class Branch(nn.Sequential):
    """The stem and the first ``last`` stages of a backbone: what one modality passes before the fusion."""

    def __init__(self, stages: Stages, last: int):
        parts = {"stem": stages.stem()} | {f"stage{number}": stages.stage(number) for number in range(1, last + 1)}
        super().__init__(OrderedDict(parts))
        self.last = last

    def levels(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> outputs of stages 1 to ``last``, each (N, C_l, H_l, W_l)."""
        outputs = [images]
        for part in self:
            outputs.append(part(outputs[-1]))
        return outputs[2:]


class Backbone(Branch):
    """One whole backbone (arguments of ``Stages``) for pre-training on a source task; images -> (N, embedding size)."""

    def __init__(self, *arguments, **options):
        stages = Stages(*arguments, **options)
        super().__init__(stages, last=4)
        self.stages, self.embedding_size = stages, stages.channels(4)
        self.apply(initial_weights)

    def forward(self, images: Tensor) -> Tensor:
        return global_average_pool(self.levels(images)[-1])


def global_average_pool(features: Tensor) -> Tensor:
    """Global average pool, (N, C, H, W) -> (N, C)."""
    return features.mean(dim=(2, 3))


def initial_weights(module: nn.Module) -> None:
    """He et al. 2015 for the convolutions; everything else keeps PyTorch's defaults."""
    if isinstance(module, nn.Conv2d) and not module.weight.is_meta:  # which PyTorch would import its compiler for
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
