"""What a notebook holds in its hands: a study (``session``) that shows tables and figures (``show``), what several
notebooks draw (``plots``), and scores to look into (``explorer``)."""

from fasnb.lab.explorer import Explorer, Walk
from fasnb.lab.session import NOTEBOOKS, Study, open_study
from fasnb.lab.show import Show
