"""A statement as PDF. The same statement is the same file, byte for byte: no date or id of its making is in it."""

import io
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import LongTable, Paragraph, SimpleDocTemplate, Spacer, TableStyle

from billing.money import usd
from billing.statements import Line, MonthStatement

_STYLES = getSampleStyleSheet()
_CELL = ParagraphStyle("cell", parent=_STYLES["BodyText"], fontSize=8, leading=10, spaceBefore=0)
_NUMBER = ParagraphStyle("number", parent=_CELL, alignment=2)
_TITLE, _HEADING, _TEXT = _STYLES["Title"], _STYLES["Heading2"], _STYLES["BodyText"]
_LINES = ("Project", "Model", "Tier", "Of month", "Calls", "Input", "Cached input", "Output", "Reasoning", "USD")
_LINE_WIDTHS = [45 * mm, 45 * mm, 20 * mm, 20 * mm, 18 * mm, 24 * mm, 24 * mm, 24 * mm, 24 * mm, 33 * mm]
_ADJUSTMENTS = ("Project", "Corrects", "Booked, UTC", "Reason", "USD")
_ADJUSTMENT_WIDTHS = [45 * mm, 20 * mm, 35 * mm, 144 * mm, 33 * mm]
_GRID = TableStyle(
    [
        ("LINEBELOW", (0, 0), (-1, -1), 1 / 4, colors.lightgrey),
        ("LINEBELOW", (0, 0), (-1, 0), 3 / 4, colors.black),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 2),
        ("RIGHTPADDING", (0, 0), (-1, -1), 2),
    ]
)


def as_pdf(statement: MonthStatement) -> bytes:
    """The file."""
    out = io.BytesIO()
    title = f"{'Draft statement' if statement.is_draft else 'Statement'} {statement.label}, {statement.organization}"
    margins = {f"{side}Margin": 10 * mm for side in ("left", "right", "top")}
    document = SimpleDocTemplate(
        out, pagesize=landscape(A4), title=title, author="Bursar", invariant=1, bottomMargin=16 * mm, **margins
    )

    def footer(canvas: Any, page: Any) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawString(10 * mm, 8 * mm, title)
        canvas.drawRightString(landscape(A4)[0] - 10 * mm, 8 * mm, f"Page {page.page}")

    document.build([*_opening(statement, title), *_tables(statement)], onFirstPage=footer, onLaterPages=footer)
    return out.getvalue()


def _opening(statement: MonthStatement, title: str) -> list[Any]:
    """Whose month it is, what it begins with, what it comes to, and what vouches for that."""
    closed = statement.closed
    told = [
        f"Organization: {statement.organization.name} ({statement.organization.slug})",
        f"Month: {statement.month.start:%Y-%m-%d} to {statement.month.end:%Y-%m-%d}, exclusive, UTC",
        f"Spent in the closed months before: {usd(statement.spent_before_usd)} USD",
        f"Seal of the closed month before: {statement.previous_seal}",
    ]
    if closed:
        who = closed.closed_by or "by itself"
        told += [
            f"Closed: {closed.closed_at:%Y-%m-%d %H:%M} UTC, {who}",
            f"Still held by its calls when it was closed: {usd(closed.held_usd)} USD",
            f"Seal: {closed.seal}, over {closed.lines} lines of the ledger",
        ]
    else:
        told.append("DRAFT: this month is not closed. Its lines can still change.")
    sums = "and sums to the ledger" if statement.agrees else f"BUT THE LEDGER SAYS {usd(statement.ledger_usd)} USD"
    told.append(f"Total: {usd(statement.total_usd)} USD, {sums}, to the last digit." if statement.agrees else "")
    if not statement.agrees:
        told.append(f"Total: {usd(statement.total_usd)} USD, {sums}. Have the books verified.")
    return [Paragraph(escape(title), _TITLE), *(Paragraph(escape(line), _TEXT) for line in told if line)]


def _tables(statement: MonthStatement) -> list[Any]:
    found: list[Any] = []
    if statement.lines:
        found += [Paragraph("Projects and models", _HEADING), _table(_LINES, _line_rows(statement), _LINE_WIDTHS, 4)]
    if statement.adjustments:
        rows = [
            (
                *(one.project, f"{one.about:%Y-%m}" if one.about else "this month"),
                *(f"{one.booked_at:%Y-%m-%d %H:%M}", one.reason, usd(one.usd)),
            )
            for one in statement.adjustments
        ]
        found += [Paragraph("Adjustments", _HEADING), _table(_ADJUSTMENTS, rows, _ADJUSTMENT_WIDTHS, 4)]
    if not found:
        found.append(Paragraph("Nothing was spent in this month.", _TEXT))
    by_project = [(name, usd(amount)) for name, amount in statement.by_project]
    total = _table(("Project", "USD"), [*by_project, ("Total", usd(statement.total_usd))], [90 * mm, 45 * mm], 1)
    return [*found, Spacer(1, 4 * mm), Paragraph("By project, adjustments included", _HEADING), total]


def _line_rows(statement: MonthStatement) -> list[tuple[str, ...]]:
    return [_line_row(line) for line in statement.lines]


def _line_row(line: Line) -> tuple[str, ...]:
    about = f"{line.about:%Y-%m}" if line.about else ""
    tokens = (f"{count:,}" for count in line.tokens.values())
    return (line.project, line.model, line.service_tier, about, f"{line.calls:,}", *tokens, usd(line.usd))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[Any], numbers_from: int) -> Any:
    """A table that goes on over pages with its header; the columns from `numbers_from` on are numbers."""
    cells = [
        [Paragraph(escape(text), _NUMBER if n >= numbers_from else _CELL) for n, text in enumerate(row)]
        for row in (header, *rows)
    ]
    return LongTable(cells, colWidths=list(widths), repeatRows=1, style=_GRID, hAlign="LEFT")
