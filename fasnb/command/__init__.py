"""The command ``fasnb``: run the study and write its report, publish and compare results, score one's own frames, say what
is missing.

Nothing imports it.
"""
