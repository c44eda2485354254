"""A reproducible study of multi-modal face anti-spoofing (Parkin and Grinchuk, CVPR Workshops 2019).

In rooms that import those before them: tools, paper (what it says, as data), data, model (``network.py`` is Figure 2),
training, metrics (``pad.py`` is TPR@FPR), lab (for notebooks), command. ``synthsurf`` is the stand-in.
"""

__version__ = "0.2.0"
