"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Collection


def markdown_table(header: list[str], rows: list[list[str]], right: bool | Collection[str] = True) -> str:
    """A table in Markdown.

    Args:
        header: titles of the columns.
        rows: cells of each row.
        right: titles of the columns that are aligned to the right; True for all but the first, False for none.
    """
    if isinstance(right, bool):
        right = header[1:] if right else []
    ruler = ["---:" if title in right else "---" for title in header]
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ruler, *cells])
