"""The policy schedule as PDF: one page that an insurer could have printed."""

from __future__ import annotations

import io
import unicodedata
from decimal import Decimal
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Frame, PageTemplate, Paragraph, Spacer, Table, TableStyle
from reportlab.platypus.doctemplate import BaseDocTemplate

from portal.config import OFFICE
from portal.format import long_date, money
from portal.policy import Policy

INK = colors.HexColor("#16222e")
SOFT = colors.HexColor("#5b6875")
LINE = colors.HexColor("#d3dae1")
BAND = colors.HexColor("#0f3d4c")
TINT = colors.HexColor("#f2f6f7")
MARGIN = 20 * mm
WIDTH = A4[0] - 2 * MARGIN
BAND_HEIGHT = 34 * mm
NO_CONTRACT = "A demonstration: insurer, office and policyholder are invented. This is not a contract of insurance."

TITLES = {
    "motor": "Motor insurance",
    "home": "Home insurance",
    "travel": "Travel insurance",
    "health": "Private health insurance",
    "life": "Life insurance",
    "business": "Business insurance",
}
INSURED_IS = {
    "motor": "Vehicle",
    "home": "Property",
    "travel": "Journeys",
    "health": "Insured persons",
    "life": "Insured person",
    "business": "Business",
}
# What each product covers: section, share of the sum insured.
COVERS: dict[str, tuple[tuple[str, str], ...]] = {
    "motor": (("Accidental damage, fire and theft", "1"), ("Liability to other people", "unlimited"),
              ("Windscreen and glass", "0.05"), ("Personal belongings", "0.02")),
    "home": (("Buildings", "1"), ("Contents", "0.25"), ("Alternative accommodation", "0.2"),
             ("Liability as owner and occupier", "2000000")),
    "travel": (("Medical expenses abroad", "1"), ("Cancellation", "0.01"), ("Baggage and personal money", "0.003"),
               ("Personal liability", "2000000")),
    "health": (("In-patient treatment", "1"), ("Out-patient consultations", "0.02"), ("Cancer care", "1"),
               ("Mental health", "0.05")),
    "life": (("Death benefit", "1"), ("Terminal illness benefit", "1"), ("Waiver of premium", "included")),
    "business": (("Property and stock", "1"), ("Business interruption", "0.5"), ("Public liability", "5000000"),
                 ("Employers' liability", "10000000")),
}  # fmt: skip

_TEXT = ParagraphStyle("text", fontName="Helvetica", fontSize=9.5, leading=13.5, textColor=INK)
_LABEL = ParagraphStyle("label", parent=_TEXT, fontSize=8, leading=11, textColor=SOFT)
_STRONG = ParagraphStyle("strong", parent=_TEXT, fontName="Helvetica-Bold")
_HEAD = ParagraphStyle("head", parent=_STRONG, fontSize=11, leading=15, spaceBefore=12, spaceAfter=5)
_RIGHT = ParagraphStyle("right", parent=_TEXT, alignment=TA_RIGHT)
_STRONG_RIGHT = ParagraphStyle("strong right", parent=_STRONG, alignment=TA_RIGHT)


def policy_schedule(policy: Policy) -> bytes:
    """The schedule of one policy. The same policy gives the same bytes, so the log keeps them once."""
    target = io.BytesIO()
    document = BaseDocTemplate(
        target,
        pagesize=A4,
        title=f"Policy schedule {policy.policy_number}",
        author=policy.insurer,
        subject=TITLES[policy.product],
        creator=OFFICE,
        invariant=1,
    )
    frame = Frame(MARGIN, 28 * mm, WIDTH, A4[1] - BAND_HEIGHT - 34 * mm, leftPadding=0, rightPadding=0, id="body")
    document.addPageTemplates(
        PageTemplate(id="page", frames=[frame], onPage=lambda canvas, _: _draw_frame(canvas, policy))
    )
    document.build(_story(policy))
    return target.getvalue()


def _story(policy: Policy) -> list[Flowable]:
    return [
        _parties(policy),
        Spacer(0, 6 * mm),
        _key_facts(policy),
        Paragraph("What is insured", _HEAD),
        _rows([(INSURED_IS[policy.product], policy.insured)]),
        Paragraph("Cover and limits", _HEAD),
        _covers(policy),
        Paragraph("Premium", _HEAD),
        _premium(policy),
        Paragraph("Please check", _HEAD),
        Paragraph(
            "Read this schedule together with your policy booklet and check that every detail is right. Tell us at "
            "once if something has changed: what you leave out may affect a claim. You may cancel within 14 days of "
            "receiving this document. To claim or to change your cover, reply to the message it came with or write to "
            f"{OFFICE}, claims@harbour-lane.example.test.",
            _TEXT,
        ),
    ]


def _parties(policy: Policy) -> Table:
    address = "<br/>".join(escape(_print(line)) for line in policy.client_address.splitlines())
    holder = f"<b>{escape(_print(policy.client_name))}</b><br/>{address}"
    broker = f"<b>{OFFICE}</b><br/>4 Harbour Lane<br/>Bristol BS1 0AA<br/>office@harbour-lane.example.test"
    return Table(
        [[Paragraph("Policyholder", _LABEL), Paragraph("Arranged by", _LABEL)],
         [Paragraph(holder, _TEXT), Paragraph(broker, _TEXT)]],
        colWidths=[WIDTH * 0.58, WIDTH * 0.42],
        style=TableStyle([("LEFTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP"),
                          ("BOTTOMPADDING", (0, 0), (-1, 0), 1)]),
    )  # fmt: skip


def _key_facts(policy: Policy) -> Table:
    facts = (
        ("Policy number", policy.policy_number),
        ("Cover begins", long_date(policy.starts_on)),
        ("Cover ends", long_date(policy.ends_on)),
        # Not "in force": that is true on some days only, and paper is read on any.
        ("Premium", money(policy.premium, policy.currency))
        if policy.status == "active"
        else ("Status", policy.status.capitalize()),
    )
    return Table(
        [[Paragraph(label, _LABEL) for label, _ in facts], [Paragraph(escape(value), _STRONG) for _, value in facts]],
        colWidths=[WIDTH / 4] * 4,
        style=TableStyle([("BACKGROUND", (0, 0), (-1, -1), TINT), ("LINEABOVE", (0, 0), (-1, 0), 1.2, BAND),
                          ("LEFTPADDING", (0, 0), (-1, -1), 8), ("TOPPADDING", (0, 0), (-1, 0), 7),
                          ("BOTTOMPADDING", (0, 0), (-1, 0), 0), ("BOTTOMPADDING", (0, 1), (-1, 1), 8)]),
    )  # fmt: skip


def _covers(policy: Policy) -> Table:
    rows = [[Paragraph("Section", _LABEL), Paragraph("Limit", _LABEL)]]
    rows += [
        [Paragraph(name, _TEXT), Paragraph(_limit(policy, share), _RIGHT)] for name, share in COVERS[policy.product]
    ]
    rows.append([Paragraph("Excess (you pay first)", _TEXT), Paragraph(money(policy.excess, policy.currency), _RIGHT)])
    rows[0][1].style = ParagraphStyle("label right", parent=_LABEL, alignment=TA_RIGHT)
    return _lined(rows)


def _limit(policy: Policy, share: str) -> str:
    if not share.replace(".", "").isdigit():
        return share.capitalize()
    number = Decimal(share)
    amount = policy.sum_insured * number if number <= 1 else number
    return money(amount, policy.currency, cents=False)


def _premium(policy: Policy) -> Table:
    tax = (policy.premium * Decimal("0.12") / Decimal("1.12")).quantize(Decimal("0.01"))
    rows = [("Premium for the period", policy.premium - tax), ("Insurance premium tax (12%)", tax)]
    if policy.currency != "GBP":  # The tax is the United Kingdom's.
        rows = []
    table = [[Paragraph(label, _TEXT), Paragraph(money(sum_, policy.currency), _RIGHT)] for label, sum_ in rows]
    table.append([Paragraph("Total", _STRONG), Paragraph(money(policy.premium, policy.currency), _STRONG_RIGHT)])
    return _lined(table)


def _rows(facts: list[tuple[str, str]]) -> Table:
    return _lined([[Paragraph(label, _TEXT), Paragraph(escape(_print(value)), _RIGHT)] for label, value in facts])


def _lined(rows: list[list[Paragraph]]) -> Table:
    return Table(
        rows,
        colWidths=[WIDTH * 0.45, WIDTH * 0.55],
        style=TableStyle([("LINEBELOW", (0, 0), (-1, -1), 0.5, LINE), ("LEFTPADDING", (0, 0), (-1, -1), 0),
                          ("RIGHTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP"),
                          ("TOPPADDING", (0, 0), (-1, -1), 4), ("BOTTOMPADDING", (0, 0), (-1, -1), 4)]),
    )  # fmt: skip


def _print(text: str) -> str:
    """The text in the letters of a PDF's built-in fonts: "Nguyễn" is printed "Nguyen", not with a black box."""
    return "".join(_letter(char) for char in unicodedata.normalize("NFC", text))


def _letter(char: str) -> str:
    try:
        char.encode("cp1252")
    except UnicodeEncodeError:
        plain = unicodedata.normalize("NFKD", _NO_DECOMPOSITION.get(char, char)).encode("ascii", "ignore").decode()
        return plain or "?"
    return char


_NO_DECOMPOSITION = {"Ł": "L", "ł": "l", "Đ": "D", "đ": "d", "ı": "i", "₹": "INR "}


def _draw_frame(canvas: Canvas, policy: Policy) -> None:
    """The band with the insurer's name on top, and the foot of the page."""
    width, height = A4
    canvas.saveState()
    canvas.setFillColor(BAND)
    canvas.rect(0, height - BAND_HEIGHT, width, BAND_HEIGHT, stroke=0, fill=1)
    canvas.setFillColor(colors.white)
    canvas.setFont("Helvetica-Bold", 17)
    canvas.drawString(MARGIN, height - 16 * mm, _print(policy.insurer))
    canvas.setFont("Helvetica", 10.5)
    canvas.drawString(MARGIN, height - 23.5 * mm, f"Policy schedule · {TITLES[policy.product]}")
    canvas.drawRightString(width - MARGIN, height - 16 * mm, policy.policy_number)
    canvas.setFillColor(SOFT)
    canvas.setStrokeColor(LINE)
    canvas.line(MARGIN, 22 * mm, width - MARGIN, 22 * mm)
    canvas.setFont("Helvetica", 7.5)
    canvas.drawString(MARGIN, 17 * mm, f"Underwritten by {_print(policy.insurer)}. Arranged by {OFFICE}.")
    canvas.drawString(
        MARGIN,
        13.5 * mm,
        NO_CONTRACT,
    )
    canvas.drawRightString(width - MARGIN, 17 * mm, f"{policy.policy_number} · page {canvas.getPageNumber()}")
    canvas.restoreState()
