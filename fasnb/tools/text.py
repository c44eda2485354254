"""Text that comes from elsewhere, such as names in lists and tables, made safe to show."""

from collections.abc import Iterable

FORMULA = ("=", "+", "-", "@")


def plain(text: object, keep: str = "") -> str:
    """Characters that cannot be seen, or that move others (controls, escape sequences, marks of direction), as escapes."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in str(text))


def no_formula(cells: Iterable) -> list:
    """Cells for a CSV file: an apostrophe before a text that a spreadsheet would take for a formula; others as they are."""
    return [f"'{cell}" if isinstance(cell, str) and _is_formula(cell) else cell for cell in cells]


def _is_formula(cell: str) -> bool:
    try:
        return cell.startswith(FORMULA) and len(cell) > 1 and float(cell) is None
    except ValueError:
        return True
