"""Answers of the exercises of chapters 00 to 03, computed from the study at hand, see ``fasnb.lab.exercises``."""
