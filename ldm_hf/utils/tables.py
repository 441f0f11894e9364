"""Tables in Markdown."""

from __future__ import annotations


def markdown_table(header: list[str], rows: list[list[str]], right: bool = True) -> str:
    """A table whose first column is aligned to the left, the others to the right unless ``right`` is False."""
    ruler = ["---"] + ["---:" if right else "---"] * (len(header) - 1)
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ruler, *cells])
