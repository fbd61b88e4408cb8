"""What a file is by its first bytes; what its sender says of it counts for nothing."""

from __future__ import annotations

from collections.abc import Callable

UNKNOWN = "application/octet-stream"
# Type, ending of a name, and how it is known.
_KNOWN: tuple[tuple[str, str, Callable[[bytes], bool]], ...] = (
    ("image/jpeg", "jpg", lambda head: head.startswith(b"\xff\xd8\xff")),
    ("image/png", "png", lambda head: head.startswith(b"\x89PNG\r\n\x1a\n")),
    ("image/gif", "gif", lambda head: head.startswith((b"GIF87a", b"GIF89a"))),
    ("image/webp", "webp", lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP"),
    ("application/pdf", "pdf", lambda head: head.startswith(b"%PDF-")),
    ("audio/ogg", "ogg", lambda head: head.startswith(b"OggS")),
    ("audio/mpeg", "mp3", lambda head: head.startswith(b"ID3") or head[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")),
    ("audio/amr", "amr", lambda head: head.startswith(b"#!AMR")),
    ("video/3gpp", "3gp", lambda head: head[4:10] == b"ftyp3g"),
    ("audio/mp4", "m4a", lambda head: head[4:11] == b"ftypM4A"),
    ("video/mp4", "mp4", lambda head: head[4:8] == b"ftyp"),
)


def sniff(content: bytes) -> tuple[str, str]:
    """The type and the ending of a name; what is not known is bytes, and is called .bin."""
    head = content[:32]
    return next(((kind, ending) for kind, ending, fits in _KNOWN if fits(head)), (UNKNOWN, "bin"))
