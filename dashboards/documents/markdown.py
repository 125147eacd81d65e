"""Pieces of Markdown."""

from collections.abc import Sequence

GENERATED = "<!-- Written by `python -m dashboards build` from the definitions: change those, not this file. -->\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are of one line each."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def anchor(title: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return "".join(char for char in title.lower().replace(" ", "-") if char.isalnum() or char in "-_")


def link(title: str, page: str = "") -> str:
    """A link to the section of that title, of this page or another."""
    return f"[{title}]({page}#{anchor(title)})"
