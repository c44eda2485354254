"""From a profile to scores: the plan of all networks (``plan``), one training (``fit``, after ``pretraining`` where it
starts from a backbone), scoring (``inference``), and the runs on disk (``runs``).

It imports everything but ``lab`` and ``command``.
"""
