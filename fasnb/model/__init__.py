"""The networks of the paper, the backbones that they are made of, weights in and out, and the table of parts."""

from fasnb.model.backbones import BACKBONES, Backbone, Stages
from fasnb.model.dlib_file import calibrate, installed, read_dlib
from fasnb.model.network import Architecture, ThreeBranchNetwork, build
from fasnb.model.parts import describe, multiply_adds
from fasnb.model.student import EarlyFusion, Student
from fasnb.model.weights import WeightsError, initialise, load_network, load_released, save_network
