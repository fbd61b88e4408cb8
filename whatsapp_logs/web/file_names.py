"""The header that gives a file its name."""

from __future__ import annotations

from urllib.parse import quote

from werkzeug.http import dump_options_header


def content_disposition(how: str, filename: str) -> str:
    """`how` is inline or attachment. The name is told in ASCII and, where that is not all of it, in Unicode too (RFC 6266).

    Written as it is, a name with a letter outside Latin-1 (“Łukasz.pdf”) would be an answer that no server can send.
    """
    name = "".join(letter for letter in filename.rpartition("/")[2] if letter.isprintable()) or "document"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    options = {"filename": plain}
    if plain != name:
        options["filename*"] = f"UTF-8''{quote(name, safe='')}"
    return dump_options_header(how, options)
