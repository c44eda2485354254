"""What the paper says, as data, and the profiles, each a complete set of values at which the study is run."""

from fasnb.paper.experiments import (
    EXPERIMENTS,
    MEMBERS,
    MODALITY_EXPERIMENTS,
    PEOPLE_EXPERIMENTS,
    PREPROCESSING_EXPERIMENTS,
    REAL_FACES_EXPERIMENTS,
    STUDENTS,
)
from fasnb.paper.profile import ProfileError, load
from fasnb.paper.published import (
    OTHER,
    PRIMARY,
    TABLE1,
    TABLE2,
    TABLE3,
    TABLE4,
    TABLE5,
    WITHOUT_D,
    ZHANG_TEST,
    table3,
)
from fasnb.paper.recipe import PAPER, RELEASED, Normalisation, Recipe
