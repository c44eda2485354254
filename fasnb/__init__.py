"""A reproducible study of multi-modal face anti-spoofing (Parkin and Grinchuk, CVPR Workshops 2019).

``notebooks/`` carries the study; here is what several notebooks or the command need. Each room imports those before it:

tools, files and the machine; paper, what the paper says, as data; data, frames, folds, scores and batches; model, networks
(``network.py`` is Figure 2) and weights; training, the plan and its networks; metrics, TPR@FPR (``pad.py``), uncertainty
and comparisons; lab, what a notebook holds in its hands; command, the command ``fasnb``. ``synthsurf`` is the stand-in.
"""

__version__ = "0.2.0"
