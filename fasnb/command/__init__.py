"""The command ``fasnb``: study, report, publication, comparison, scores of one's own frames. Nothing imports it."""
