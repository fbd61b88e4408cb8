"""A file that somebody uploads: its size, its kind by its own bytes (not by what the browser says), its name."""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from dataclasses import dataclass

from werkzeug.datastructures import FileStorage

MAX_BYTES = 16 * 1024 * 1024  # what Twilio carries on WhatsApp
MAX_IMAGE_BYTES = 5 * 1024 * 1024  # what WhatsApp takes as an image
MAX_NAME_CHARACTERS = 100
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
KINDS = {"pdf": "application/pdf", "jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "docx": DOCX}
ACCEPT = ",".join(f".{ending}" for ending in KINDS)


class NotAccepted(ValueError):
    """The file cannot be sent; the text is for the person who chose it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A checked file."""

    filename: str
    content_type: str
    content: bytes


def read(file: FileStorage | None) -> Upload | None:
    """The uploaded file, checked; None when nobody chose one. Raises NotAccepted."""
    if file is None or not file.filename:
        return None
    filename = _clean_name(file.filename)
    ending = filename.rpartition(".")[2].lower() if "." in filename else ""
    if ending not in KINDS:
        raise NotAccepted("Choose a PDF, JPG, PNG or DOCX file.")
    content = file.stream.read(MAX_BYTES + 1)
    _check_size(content, KINDS[ending])
    if not _looks_like(KINDS[ending], content):
        raise NotAccepted(f"This file is called .{ending}, but it is not one. Save it again as {ending.upper()}.")
    return Upload(filename=filename, content_type=KINDS[ending], content=content)


def _check_size(content: bytes, content_type: str) -> None:
    if not content:
        raise NotAccepted("The file is empty. Choose another one.")
    if len(content) > MAX_BYTES:
        raise NotAccepted("The file is larger than 16 MB, which is more than WhatsApp carries. Choose a smaller one.")
    if content_type.startswith("image/") and len(content) > MAX_IMAGE_BYTES:
        raise NotAccepted("The picture is larger than 5 MB, which is more than WhatsApp takes. Save it as a PDF.")


def _looks_like(content_type: str, content: bytes) -> bool:
    if content_type == DOCX:
        return _is_docx(content)
    beginnings = {"application/pdf": b"%PDF-", "image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}
    return content.startswith(beginnings[content_type])


def _is_docx(content: bytes) -> bool:
    """Whether it is a Word document without macros; nothing is unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError):
        return False
    return {"[Content_Types].xml", "word/document.xml"} <= inside and "word/vbaProject.bin" not in inside


def _clean_name(name: str) -> str:
    """The name without folders and without characters that play tricks on the reader (control, direction)."""
    name = re.split(r"[\\/]", unicodedata.normalize("NFC", name))[-1]
    name = "".join(char for char in name if unicodedata.category(char)[0] != "C").strip(" .")
    stem, dot, ending = name.rpartition(".")
    return f"{stem[:MAX_NAME_CHARACTERS]}{dot}{ending}" if dot else name[:MAX_NAME_CHARACTERS]
