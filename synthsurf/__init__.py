"""SynthSURF, the procedural stand-in for CASIA-SURF: who is drawn (``faces``), what is printed (``prints``), what
stands before the cameras (``scenes``) and what they see (``sensors``); the data set (``dataset``), and the source tasks
to start from (``source_tasks``). It imports nothing of ``fasnb``.
"""

from synthsurf.dataset import SynthSurf
