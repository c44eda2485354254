"""Classification heads of the source tasks (Section 4.2): softmax and ArcFace.

Each maps features (N, F) and, in training, labels (N,) to logits (N, classes) for cross-entropy. Without labels the
logits carry no margin, for the accuracy.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class SoftmaxHead(nn.Module):
    """Plain classification: logit_j = w_j . x + b_j."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(features, classes)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.linear(x)


class ArcFaceHead(nn.Module):
    """Deng et al., "ArcFace", CVPR 2019: ``margin`` m (radians) is added to the angle of the own class.

    With |w_j| = |x| = 1: logit_j = s cos(theta_j); for the own class s cos(theta + m). Where theta + m exceeds pi,
    the own logit goes on falling as s (cos(theta) - m sin(m)), as in the authors' code.
    """

    def __init__(self, features: int, classes: int, margin: float = 0.5, scale: float = 64.0):
        super().__init__()
        self.margin, self.scale = margin, scale
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, features)))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        cosine = _cosines(x, self.weight)
        if labels is not None:
            own = cosine.gather(1, labels[:, None])
            moved = torch.cos(torch.acos(own) + self.margin)
            past_pi = own - self.margin * math.sin(self.margin)
            moved = torch.where(own > math.cos(math.pi - self.margin), moved, past_pi)
            cosine = cosine.scatter(1, labels[:, None], moved)
        return self.scale * cosine


def _cosines(x: Tensor, weight: Tensor) -> Tensor:
    """Cosine of every feature vector with every class vector, kept off +-1, where arccos has no gradient."""
    limit = 1.0 - torch.finfo(x.dtype).eps
    return functional.linear(functional.normalize(x), functional.normalize(weight)).clamp(-limit, limit)
