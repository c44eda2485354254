"""Answers of the exercises of chapters 04 to 10, computed from the study at hand, see ``fasnb.lab.exercises``."""
