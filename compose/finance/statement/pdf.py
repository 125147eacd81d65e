"""A document as PDF, A4. The same document gives the same bytes."""

import unicodedata
from collections.abc import Container, Sequence
from dataclasses import replace

import fontpkg
from fontTools.ttLib import TTFont
from fpdf import FPDF
from fpdf.enums import Align, MethodReturnValue, WrapMode, XPos, YPos

from compose.finance.statement.blocks import Block, Code, Document, Paragraph, Section, Table
from compose.finance.statement.printed import PAD_MM, CellLine, PrintedColumn, cell, printed

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
_LINE_MM = 3.7
_ROW_MM = _LINE_MM + 2 * PAD_MM
_PROSE_MM, _CODE_MM = 4.2, 4.0  # of a line
_CODE_PAD_MM = 2.0  # beside it; half of it above and below
_GAP_MM = 1.2  # below a block
_TEXT_PT, _SMALL_PT, _FINE_PT = 9.0, 8.0, 7.0
_TEXT, _MONO = "Lato", "IBM Plex Mono"


def pdf(document: Document) -> bytes:
    """The whole document."""
    page = _Page(document)
    page.head()
    for section in document.sections:
        page.section(section)
    return bytes(page.output())


def printable(text: str, known: Container[int]) -> str:
    """The text with `[U+660E]` for what a font that knows these code points cannot show: nothing is lost unseen."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(sign if ord(sign) in known else f"[U+{ord(sign):04X}]" for sign in composed)


class _Page(FPDF):
    """An A4 page with the head and foot of a statement."""

    def __init__(self, document: Document) -> None:
        super().__init__(format="A4")
        self.document = document
        self.set_margins(_MARGIN_MM, _MARGIN_MM, _MARGIN_MM)
        self.set_auto_page_break(True, _BOTTOM_MM)
        self.c_margin = 0
        self._known: dict[str, Container[int]] = {}
        for family in (_TEXT, _MONO):
            regular = fontpkg.path(family)
            with TTFont(regular) as font:
                self._known[family] = font.getBestCmap()
            self.add_font(family, "", regular)
        self.add_font(_TEXT, "B", fontpkg.path(_TEXT, weight="bold"))
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
        size_pt = min(self._fitting(value, width - 6, 13) for _, value in self.document.figures)
        for number, (label, value) in enumerate(self.document.figures):
            left = _MARGIN_MM + number * (width + gap)
            self.rect(left, top, width, 17, style="F")
            self.line(left, top, left, top + 17)
            self.set_xy(left + 3, top + 2.6)
            self._ink(_SMALL_PT, _GREY)
            self.cell(width - 4, 4, self._printable(label))
            self.set_xy(left + 3, top + 8)
            self._ink(size_pt, _INK, strong=True)
            self.cell(width - 5, 6, value)
        self.set_xy(_MARGIN_MM, top + 21)

    def _fitting(self, value: str, width: float, size_pt: float) -> float:
        """Never cut: a long figure is set smaller."""
        self._ink(size_pt, _INK, strong=True)
        while self.get_string_width(value) > width and size_pt > 5:
            size_pt -= 0.5
            self._ink(size_pt, _INK, strong=True)
        return size_pt

    # ---- sections ----------------------------------------------------------------------------------------------------

    def section(self, section: Section) -> None:
        """A heading, never alone at the end of a page, and what belongs to it."""
        self.ln(3.5)
        head_mm, least_mm, page_mm = 6.8, 26.0, self.eph
        whole_mm = head_mm + sum(self._height_mm(block) for block in section.blocks)
        self._room(whole_mm if section.whole and whole_mm < page_mm else least_mm)
        self._ink(11.5, _ACCENT, strong=True)
        self._paragraph(section.title, 6)
        self.ln(head_mm - 6)
        for block in section.blocks:
            match block:
                case Paragraph(text):
                    self._ink(_SMALL_PT, _INK)
                    self._paragraph(text, _PROSE_MM)
                case Code(text):
                    self._code(text)
                case Table():
                    self._table(block)
            self.ln(_GAP_MM)

    def _height_mm(self, block: Block) -> float:
        """Of a block on the page; of a table, when every cell is one line."""
        match block:
            case Paragraph(text):
                return len(self._wrapped(text, _WIDTH_MM, _SMALL_PT)) * _PROSE_MM + _GAP_MM
            case Code(text):
                return len(self._wrapped_code(text)) * _CODE_MM + _CODE_PAD_MM + _GAP_MM
            case Table(_, rows, totals):
                return (1 + len(rows) + len(totals)) * _ROW_MM + 2 * _GAP_MM

    def _wrapped_code(self, text: str) -> list[str]:
        return self._wrapped(text, _WIDTH_MM - 2 * _CODE_PAD_MM, _FINE_PT, family=_MONO)

    def _code(self, text: str) -> None:
        lines = self._wrapped_code(text)
        height = len(lines) * _CODE_MM + _CODE_PAD_MM
        self._room(height)
        top = self.get_y()
        self.set_fill_color(*_TINT)
        self.rect(_MARGIN_MM, top, _WIDTH_MM, height, style="F")
        self._ink(_FINE_PT, _INK, family=_MONO)
        self.set_y(top + _CODE_PAD_MM / 2)
        for line in lines:
            self.set_x(_MARGIN_MM + _CODE_PAD_MM)
            self.cell(0, _CODE_MM, line, new_y=YPos.NEXT)
        self.set_xy(_MARGIN_MM, top + height)

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
            self._row(columns, [list(cell(table, column, row)) for column in columns], _RULE, below_mm=totals_mm)
        for row in table.totals:
            texts = [" ".join(row[member] for member in column.members if row[member]) for column in columns]
            cells = [[CellLine(text, strong=True)] if text else [] for text in texts]
            self._row(columns, cells, _ACCENT, above=True)
        self.ln(_GAP_MM)

    def _columns(self, table: Table) -> list[PrintedColumn]:
        """Figures get the width that they need, for they are never broken; texts share what is left."""
        columns = printed(table.columns)
        for column in columns:
            figures = [row[member] for row in (*table.rows, *table.totals) for member in column.members]
            if column.stacked:
                units = [f" {table.columns[member].title}" for member in column.members]
                column.unit_mm = self._widest_mm(units, _FINE_PT) + 3
                column.width_mm = self._widest_mm(figures, _FINE_PT) + 2 * PAD_MM + 0.2 + column.unit_mm
            elif column.figure:
                title_mm = self._widest_mm([column.title], _FINE_PT) + 1
                widest = max(self._widest_mm(figures, _SMALL_PT, strong=True), title_mm)
                column.width_mm = max(_FIGURE_MM, widest + 2 * PAD_MM + 0.2)
        texts = [column for column in columns if not column.figure]
        left = _WIDTH_MM - sum(column.width_mm for column in columns)
        for column in texts:
            column.width_mm = min(left / len(texts), _TEXT_MM if len(table.columns) <= 3 else left)
        return columns

    def _widest_mm(self, texts: Sequence[str], size_pt: float, *, strong: bool = False) -> float:
        self._ink(size_pt, _INK, strong=strong)
        return max((self.get_string_width(text) for text in texts), default=0.0)

    def _table_head(self, columns: Sequence[PrintedColumn]) -> None:
        cells = [[CellLine(column.title, quiet=True)] for column in columns]
        self._row(columns, cells, _ACCENT, heading=True)

    def _row(
        self,
        columns: Sequence[PrintedColumn],
        cells: Sequence[Sequence[CellLine]],
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
                for part in self._wrapped(line.text, column.inner_mm, self._size(line), strong=line.strong)
            ]
            for column, cell in zip(columns, cells, strict=True)
        ]
        tallest = max(len(cell) for cell in wrapped)
        needed = tallest * _LINE_MM + 2 * PAD_MM
        if not heading and self._room(needed + below_mm):
            self._table_head(columns)
        top = self.get_y()
        if above:
            self._rule(columns, top, rule)
        left = _MARGIN_MM
        for column, lines in zip(columns, wrapped, strict=True):
            align = Align.R if column.figure and not (heading and column.stacked) else Align.L
            for number, line in enumerate(lines):
                self.set_xy(left + PAD_MM, top + PAD_MM + number * _LINE_MM)
                self._ink(self._size(line), _GREY if line.quiet else _INK, strong=line.strong)
                self.cell(column.text_mm, _LINE_MM, line.text, align=align)
                if line.unit:
                    self._ink(_FINE_PT, _GREY)
                    self.cell(column.unit_mm, _LINE_MM, f" {self._printable(line.unit)}")
            left += column.width_mm
        self.set_xy(_MARGIN_MM, top + needed)
        if not above:
            self._rule(columns, top + needed, rule)

    def _rule(self, columns: Sequence[PrintedColumn], y: float, colour: tuple[int, int, int]) -> None:
        self.set_draw_color(*colour)
        self.set_line_width(0.2)
        self.line(_MARGIN_MM, y, _MARGIN_MM + sum(column.width_mm for column in columns), y)

    @staticmethod
    def _size(line: CellLine) -> float:
        return _FINE_PT if line.quiet or line.unit else _SMALL_PT

    # ---- text --------------------------------------------------------------------------------------------------------

    def _printable(self, text: str, family: str = _TEXT) -> str:
        return printable(text, self._known[family])

    def _ink(self, size_pt: float, colour: tuple[int, int, int], *, strong: bool = False, family: str = _TEXT) -> None:
        self.set_font(family, "B" if strong else "", size_pt)
        self.set_text_color(*colour)

    def _wrapped(
        self, text: str, width_mm: float, size_pt: float, *, strong: bool = False, family: str = _TEXT
    ) -> list[str]:
        """Lines that fit, and the font set; a word that is too long for one is broken, not cut."""
        self._ink(size_pt, _INK, strong=strong, family=family)
        lines = self.multi_cell(
            width_mm, 4, self._printable(text, family), align=Align.L, dry_run=True,
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
