"""A document as Markdown."""

from collections.abc import Sequence

from compose.finance.statement.blocks import Block, Code, Document, Paragraph, Table


def markdown(document: Document) -> str:
    """The whole document, ended by a newline."""
    parts = [
        f"# {_text(document.title)}",
        f"**{_text(document.subtitle)}**",
        "\n".join(f"- {_text(label)}{document.words('colon')} {_text(value)}" for label, value in document.facts),
        _table([label for label, _ in document.figures], [[value for _, value in document.figures]], figures=True),
    ]
    for section in document.sections:
        parts.append(f"## {_text(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return _text(text)
        case Code(text):
            return f"```sh\n{text}\n```"
        case Table(columns, rows, totals):
            bold = [[f"**{_text(cell)}**" if cell else "" for cell in row] for row in totals]
            plain = [[_text(cell) for cell in row] for row in rows]
            return _lines(
                [_text(column.title) for column in columns], [column.figure for column in columns], plain + bold
            )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, figures: bool) -> str:
    return _lines(
        [_text(title) for title in titles], [figures] * len(titles), [[_text(c) for c in row] for row in rows]
    )


def _lines(titles: Sequence[str], figures: Sequence[bool], rows: Sequence[Sequence[str]]) -> str:
    """Cells that are Markdown already, as a table."""
    rule = ["---:" if figure else "---" for figure in figures]
    return "\n".join("| " + " | ".join(row) + " |" for row in [titles, rule, *rows])


def _text(text: str) -> str:
    """Text that means nothing to Markdown."""
    for sign in "\\`*_|<[]#":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split("\n"))
