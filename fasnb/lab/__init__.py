"""What a notebook holds in its hands: a study opened (``session``), tables and figures shown (``show``, ``tables``,
``figures``, ``diagrams``, in the colours of ``palette``), scores to look into (``explorer``), pictures and statistics of
frames (``views``), the verdicts on claims (``claims``), how a run's tables read
(``readings``), and which notebooks there are (``chapters``).

It imports everything but ``command``.
"""

from fasnb.lab.explorer import Explorer
from fasnb.lab.session import Session, open_study
from fasnb.lab.show import Show, say
