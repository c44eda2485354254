"""The networks: Figure 2 (``network``), the backbones it is made of, weights from published and our own files, and the
table of parts. It imports ``paper`` and ``tools``."""

from fasnb.model.backbones import BACKBONES, Backbone, Stages
from fasnb.model.network import Architecture, ThreeBranchNetwork, build
from fasnb.model.parts import describe, multiply_adds
from fasnb.model.weights import WeightsError, initialise, load_network, load_released, save_backbone, save_network
