"""What the paper says, as data: experiments, published tables, claims and recipes; and the profiles, each a complete set
of values at which the study is run.

It imports nothing else of the package.
"""

from fasnb.paper.experiments import (
    EXPERIMENTS,
    MEMBERS,
    MODALITIES,
    MODALITY_EXPERIMENTS,
    PEOPLE_EXPERIMENTS,
    PREPROCESSING_EXPERIMENTS,
    SEEDS,
    Experiment,
)
from fasnb.paper.profile import Profile, ProfileError, load
from fasnb.paper.published import (
    CLAIMS,
    TABLE1,
    TABLE2,
    TABLE3,
    TABLE4,
    TABLE5,
    WITHOUT_D,
    ZHANG_TEST,
    Claim,
    table3,
)
from fasnb.paper.recipe import PAPER, RECIPES, RELEASED, Normalisation, Recipe
