"""What a notebook holds in its hands: a study opened (``session``), tables and figures shown (``show``), pictures and
statistics of frames (``views``).

It imports everything but ``command``.
"""
