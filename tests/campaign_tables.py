"""What tests of campaigns start from: approved templates in the catalogue, tables of made-up people, and Excel files of them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

import psycopg
from psycopg.types.json import Jsonb

from whatsapp_logs import WhatsAppService
from whatsapp_logs.campaign_files import Table
from whatsapp_logs.twilio.simulator import templates

NOTICE = templates.TEMPLATES[templates.GENERAL_NOTICE]
REMINDER = templates.TEMPLATES[templates.RENEWAL_REMINDER]
MAPPING = {"to": 0, "fields": {"1": {"column": 1}, "2": {"column": 2}}}


def fill_catalogue(dsn: str, *, category: str = "UTILITY", approval: str = "approved") -> dict[str, int]:
    """Put the simulator's own templates into the catalogue, as a synchronisation does; name → id of the version."""
    named = {
        NOTICE.sid: (NOTICE, ["client name", "notice"]),
        REMINDER.sid: (REMINDER, ["client name", "policy number", "renewal date"]),
    }
    ids = {}
    with psycopg.connect(dsn) as conn:
        for sid, (template, names) in named.items():
            row = conn.execute(
                "INSERT INTO whatsapp_logs.templates (name, language, created_by) VALUES (%s, 'en_GB', 'twilio') RETURNING id",
                [template.name],
            ).fetchone()
            fields = [
                {"key": str(n), "name": name, "sample": template.samples[str(n)]} for n, name in enumerate(names, 1)
            ]
            version = conn.execute(
                """
                INSERT INTO whatsapp_logs.template_versions
                    (template_id, version, content_sid, content_type, body, variables, category, approval, created_by, checked_at)
                VALUES (%s, 1, %s, 'twilio/text', %s, %s, %s, %s, 'twilio', now()) RETURNING id
                """,
                [row and row[0], sid, template.body, Jsonb(fields), category, approval],
            ).fetchone()
            assert version
            ids[template.name] = int(version[0])  # type: ignore[call-overload]
    return ids


def people(count: int, *, first: int = 0) -> Table:
    """So many people, each with a number of their own (of a range that is nobody's) and words of their own."""
    numbers = range(1000 + first, 1000 + first + count)
    rows = [(f"+155501{n:05d}", f"Client {n}", f"notice {n} for you.") for n in numbers]
    return Table(("Mobile number", "Client name", "Notice"), tuple(rows))


def prepared(
    service: WhatsAppService, table: Table, template_id: int, *, person: str = "anna", name: str = "Spring"
) -> int:
    """A checked campaign with this table and the general notice; its id."""
    campaign_id = service.begin_campaign(table, name=name, source="people.csv", created_by=person)
    service.map_campaign(
        campaign_id, name=name, template_id=template_id, message_type="general", mapping=MAPPING, person=person
    )
    asked_at = service.campaign(campaign_id).campaign.check_asked_at
    if asked_at is not None:
        service.run_check(campaign_id, asked_at=asked_at)
    return campaign_id


def set_going(service: WhatsAppService, campaign_id: int, *, person: str = "anna", other: str = "ben") -> None:
    """Start it, and have somebody else release it where that is needed."""
    if service.start_campaign(campaign_id, person=person).state == "waiting":
        service.release_campaign(campaign_id, person=other)


def xlsx(rows: Iterable[Sequence[object]], *, formula: str = "") -> bytes:
    """An Excel file of these rows; `formula` stands behind the first cell of the second row, whose value is the cell's."""
    lines = []
    for r, row in enumerate(rows, 1):
        cells = []
        for c, value in enumerate(row):
            place = f"{chr(65 + c)}{r}"
            if isinstance(value, (int, float)):
                asked = f"<f>{escape(formula)}</f>" if formula and (r, c) == (2, 0) else ""
                cells.append(f'<c r="{place}">{asked}<v>{value}</v></c>')
            else:
                cells.append(f'<c r="{place}" t="inlineStr"><is><t>{escape(str(value))}</t></is></c>')
        lines.append(f'<row r="{r}">{"".join(cells)}</row>')
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml"'
        ' ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
        "</Types>",
        "_rels/.rels": f'<Relationships xmlns="{_RELS}"><Relationship Id="r1" Type="{_DOC}/officeDocument"'
        ' Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_DOC}"><sheets>'
        '<sheet name="People" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELS}"><Relationship Id="r1" Type="{_DOC}/worksheet"'
        ' Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>',
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in parts.items():
            book.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return out.getvalue()


_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DOC = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
