"""A document as PDF, A4. The same document gives the same bytes."""

import unicodedata
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace

import fontpkg
from fontTools.ttLib import TTFont
from fpdf import FPDF
from fpdf.enums import Align, MethodReturnValue, WrapMode, XPos, YPos

from compose.finance.statement.blocks import Block, Code, Column, Document, Paragraph, Table
from compose.finance.statement.typography import NBSP

_INK = (28, 36, 43)
_GREY = (101, 112, 121)
_ACCENT = (9, 84, 104)
_RULE = (205, 213, 218)
_TINT = (241, 245, 247)

_MARGIN_MM = 16.0
_WIDTH_MM = 210 - 2 * _MARGIN_MM
_BOTTOM_MM = 20.0
_TEXT_MM = 70.0  # of the texts in a small table
_FIGURE_MM = 24.0  # of a column of figures, at least
_UNIT_MM = 24.0  # of the units of several figures in one column
_PAD_MM = 1.3
_LINE_MM = 3.7
_ROW_MM = _LINE_MM + 2 * _PAD_MM
_TEXT_PT, _SMALL_PT, _FINE_PT = 9.0, 8.0, 7.0


def pdf(document: Document) -> bytes:
    """The whole document."""
    page = _Page(document)
    page.head()
    for section in document.sections:
        page.section(section.title, section.blocks)
    return bytes(page.output())


def printable(text: str, known: Container[int]) -> str:
    """The text with `[U+660E]` for what a font that knows these code points cannot show: nothing is lost unseen."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(sign if ord(sign) in known else f"[U+{ord(sign):04X}]" for sign in composed)


@dataclass(slots=True)
class _Printed:
    """A column as it is printed: one of the table, or several of one stack."""

    title: str
    figure: bool
    members: list[int] = field(default_factory=list)
    width_mm: float = 0.0
    unit_mm: float = 0.0
    """Of that, for the units of figures."""

    @property
    def text_mm(self) -> float:
        """What is left for text."""
        return self.width_mm - self.unit_mm - 2 * _PAD_MM


@dataclass(frozen=True, slots=True)
class _Line:
    """One line in a cell."""

    text: str
    strong: bool = False
    quiet: bool = False
    unit: str = ""
    """Set to the right of a figure."""


class _Page(FPDF):
    """An A4 page with the head and foot of a statement."""

    def __init__(self, document: Document) -> None:
        super().__init__(format="A4")
        self.document = document
        self.set_margins(_MARGIN_MM, _MARGIN_MM, _MARGIN_MM)
        self.set_auto_page_break(True, _BOTTOM_MM)
        self.c_margin = 0
        regular = fontpkg.path("Lato")
        with TTFont(regular) as font:
            self._known: Container[int] = font.getBestCmap()
        self.add_font("Lato", "", regular)
        self.add_font("Lato", "B", fontpkg.path("Lato", weight="bold"))
        self.set_creation_date(document.made_at)
        self.set_title(self._printable(f"{document.title} – {document.subtitle}"))
        self.set_subject(document.number)
        self.set_creator("Commonwatt")
        self.set_lang("en-CA" if document.language == "en" else "fr-CA")
        self.alias_nb_pages("{pages}")
        self.add_page()

    def footer(self) -> None:
        """Called by FPDF at the end of each page."""
        self.set_y(-13)
        self._ink(_FINE_PT, _GREY)
        self.cell(0, 4, self._printable(self.document.number))
        # How many pages there are is filled in at the end, so it cannot be set to the right.
        words, page = self.document.words, self.page_no()
        self.set_x(_MARGIN_MM + _WIDTH_MM - self.get_string_width(words("page", page=page, pages=page)))
        self.cell(0, 4, words("page", page=page, pages="{pages}"))

    # ---- head --------------------------------------------------------------------------------------------------------

    def head(self) -> None:
        """Title, facts and key figures."""
        self.set_fill_color(*_ACCENT)
        self.rect(0, 0, 210, 3, style="F")
        self._ink(19, _ACCENT, strong=True)
        self._paragraph(self.document.title, 8.5)
        self._ink(12, _INK)
        self._paragraph(self.document.subtitle, 6)
        self.ln(3)
        for label, value in self.document.facts:
            self._fact(label, value)
        self.ln(3)
        self._figures()

    def _fact(self, label: str, value: str) -> None:
        label_mm = 44
        lines = self._wrapped(value, _WIDTH_MM - label_mm, _TEXT_PT)
        for number, line in enumerate(lines):
            self._ink(_SMALL_PT, _GREY)
            self.cell(label_mm, 4.7, self._printable(label) if number == 0 else "")
            self._ink(_TEXT_PT, _INK)
            self.cell(0, 4.7, line, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _figures(self) -> None:
        gap = 3.0
        count = len(self.document.figures)
        width = (_WIDTH_MM - gap * (count - 1)) / count
        top = self.get_y()
        self.set_fill_color(*_TINT)
        self.set_draw_color(*_ACCENT)
        self.set_line_width(0.5)
        for number, (label, value) in enumerate(self.document.figures):
            left = _MARGIN_MM + number * (width + gap)
            self.rect(left, top, width, 17, style="F")
            self.line(left, top, left, top + 17)
            self.set_xy(left + 3, top + 2.6)
            self._ink(_SMALL_PT, _GREY)
            self.cell(width - 4, 4, self._printable(label))
            self.set_xy(left + 3, top + 8)
            self._fitted(value, width - 5, 13)
        self.set_xy(_MARGIN_MM, top + 21)

    def _fitted(self, value: str, width: float, size_pt: float) -> None:
        """Never cut: a long figure is set smaller."""
        self._ink(size_pt, _INK, strong=True)
        while self.get_string_width(value) > width - 1 and size_pt > 5:
            size_pt -= 0.5
            self._ink(size_pt, _INK, strong=True)
        self.cell(width, 6, value)

    # ---- sections ----------------------------------------------------------------------------------------------------

    def section(self, title: str, blocks: Sequence[Block]) -> None:
        """A heading, never alone at the end of a page, and what belongs to it."""
        self.ln(3.5)
        self._room(26)
        self._ink(11.5, _ACCENT, strong=True)
        self._paragraph(title, 6)
        self.ln(0.8)
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            match block:
                case Paragraph(text):
                    if isinstance(following, Code):  # what it introduces stands on the same page
                        self._room(16)
                    self._ink(_SMALL_PT, _INK)
                    self._paragraph(text, 4.2)
                    self.ln(1)
                case Code(text):
                    self._code(text)
                case Table():
                    self._table(block)

    def _code(self, text: str) -> None:
        self._room(8)
        self.set_fill_color(*_TINT)
        self._ink(_FINE_PT, _INK)
        self.multi_cell(
            _WIDTH_MM, 4, self._printable(text), fill=True, align=Align.L, padding=(1, 2, 1, 2),
            new_x=XPos.LMARGIN, new_y=YPos.NEXT,
        )  # fmt: skip
        self.ln(1.4)

    def _paragraph(self, text: str, height: float) -> None:
        self.multi_cell(
            _WIDTH_MM, height, self._printable(text), align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT
        )  # fmt: skip

    # ---- tables ------------------------------------------------------------------------------------------------------

    def _table(self, table: Table) -> None:
        columns = self._columns(table)
        self._table_head(columns)
        for number, row in enumerate(table.rows, 1):
            totals_mm = _ROW_MM * len(table.totals) if number == len(table.rows) else 0.0  # they stay together
            self._row(columns, [list(_cell(table, column, row)) for column in columns], _RULE, below_mm=totals_mm)
        for row in table.totals:
            texts = [" ".join(row[member] for member in column.members if row[member]) for column in columns]
            cells = [[_Line(text, strong=True)] if text else [] for text in texts]
            self._row(columns, cells, _ACCENT, above=True)
        self.ln(1.6)

    def _columns(self, table: Table) -> list[_Printed]:
        """Figures get the width that they need, for they are never broken; texts share what is left."""
        columns = _printed(table.columns)
        self._ink(_SMALL_PT, _INK, strong=True)
        for column in columns:
            if column.figure:
                figures = [row[member] for row in (*table.rows, *table.totals) for member in column.members]
                widest = max((self.get_string_width(figure) for figure in figures), default=0.0)
                column.unit_mm = _UNIT_MM if len(column.members) > 1 else 0.0
                column.width_mm = max(_FIGURE_MM, widest + 2 * _PAD_MM + 0.2) + column.unit_mm
        texts = [column for column in columns if not column.figure]
        left = _WIDTH_MM - sum(column.width_mm for column in columns)
        for column in texts:
            column.width_mm = min(left / len(texts), _TEXT_MM if len(table.columns) <= 3 else left)
        return columns

    def _table_head(self, columns: Sequence[_Printed]) -> None:
        cells = [[_Line(column.title, quiet=True)] for column in columns]
        self._row(columns, cells, _ACCENT, heading=True)

    def _row(
        self,
        columns: Sequence[_Printed],
        cells: Sequence[Sequence[_Line]],
        rule: tuple[int, int, int],
        *,
        heading: bool = False,
        above: bool = False,
        below_mm: float = 0.0,
    ) -> None:
        """A row that is never cut by the end of a page, unless it is longer than one.

        rule: colour of the line below it, or above it. below_mm: what must fit on the same page after it.
        """
        wrapped = [
            cell
            if column.figure and not heading
            else [
                replace(line, text=part)
                for line in cell
                for part in self._wrapped(line.text, column.text_mm, self._size(line), strong=line.strong)
            ]
            for column, cell in zip(columns, cells, strict=True)
        ]
        tallest = max(len(cell) for cell in wrapped)
        needed = tallest * _LINE_MM + 2 * _PAD_MM
        if not heading and self._room(needed + below_mm):
            self._table_head(columns)
        top = self.get_y()
        if above:
            self._rule(columns, top, rule)
        left = _MARGIN_MM
        for column, cell in zip(columns, wrapped, strict=True):
            for number, line in enumerate(cell):
                self.set_xy(left + _PAD_MM, top + _PAD_MM + number * _LINE_MM)
                self._ink(self._size(line), _GREY if line.quiet else _INK, strong=line.strong)
                self.cell(column.text_mm, _LINE_MM, line.text, align=Align.R if column.figure else Align.L)
                if line.unit:
                    self._ink(_FINE_PT, _GREY)
                    self.cell(column.unit_mm, _LINE_MM, f" {self._printable(line.unit)}")
            left += column.width_mm
        self.set_xy(_MARGIN_MM, top + needed)
        if not above:
            self._rule(columns, top + needed, rule)

    def _rule(self, columns: Sequence[_Printed], y: float, colour: tuple[int, int, int]) -> None:
        self.set_draw_color(*colour)
        self.set_line_width(0.2)
        self.line(_MARGIN_MM, y, _MARGIN_MM + sum(column.width_mm for column in columns), y)

    @staticmethod
    def _size(line: _Line) -> float:
        return _FINE_PT if line.quiet or line.unit else _SMALL_PT

    # ---- text --------------------------------------------------------------------------------------------------------

    def _printable(self, text: str) -> str:
        return printable(text, self._known)

    def _ink(self, size_pt: float, colour: tuple[int, int, int], *, strong: bool = False) -> None:
        self.set_font("Lato", "B" if strong else "", size_pt)
        self.set_text_color(*colour)

    def _wrapped(self, text: str, width_mm: float, size_pt: float, *, strong: bool = False) -> list[str]:
        """Lines that fit; a word that is too long for one is broken, not cut."""
        self._ink(size_pt, _INK, strong=strong)
        lines = self.multi_cell(
            width_mm, 4, self._printable(text), align=Align.L, dry_run=True,
            output=MethodReturnValue.LINES, wrapmode=WrapMode.WORD,
        )  # fmt: skip
        assert isinstance(lines, list)
        return [str(line) for line in lines]

    def _room(self, height_mm: float) -> bool:
        """Begin a new page unless so much is left of this one. Returns whether it did."""
        if not self.will_page_break(height_mm):
            return False
        self.add_page()
        return True


def _printed(columns: Sequence[Column]) -> list[_Printed]:
    """Neighbours of one stack become one column."""
    printed: list[_Printed] = []
    stack = ""
    for number, column in enumerate(columns):
        if not (column.stack and column.stack == stack):
            printed.append(_Printed(column.stack or column.title, column.figure))
        printed[-1].members.append(number)
        stack = column.stack
    return printed


def _cell(table: Table, column: _Printed, row: Sequence[str]) -> Iterator[_Line]:
    """Lines of a cell: of a stack of texts the first is strong, of a stack of figures each has its unit."""
    if len(column.members) == 1:
        yield _Line(row[column.members[0]])
    elif column.figure:
        for member in column.members:
            if row[member]:
                yield _Line(row[member], unit=table.columns[member].title)
    else:
        first, *others = (row[member] for member in column.members if row[member])
        yield _Line(first, strong=True)
        yield _Line(f"{NBSP}· ".join(others), quiet=True)
