"""The portal's names for clients and policies, put into a file's rows while they pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from whatsapp_logs.store.exports import AFTER_SPLIT, AT_START, PICTURES

_NAMES_AT_ONCE, _KEPT_NAMES = 1000, 50_000
# The time, the keys of client and policy, and all the rest of a line.
_KEYS = re.compile(rb'([^,]*),("(?:[^"]|"")*"|[^,]*),("(?:[^"]|"")*"|[^,]*),(.*)', re.DOTALL)
_INNOCENT = re.compile(r"\w[\w .&()/-]*")

Names = Callable[[Iterable[str]], Mapping[str, str]]
Key = TypeVar("Key")
Cell = TypeVar("Cell")


class Naming(Generic[Key, Cell]):
    """What the portal calls its clients, or its policies: asked for piece by piece, those of late remembered.

    `to_id` tells a key's id, `to_cell` gives a name the file's form. As on the page a client without a name is told by the number
    alone, a policy without one by its id (`or_id`).
    """

    def __init__(
        self, look_up: Names | None, *, to_id: Callable[[Key], str], to_cell: Callable[[str], Cell], or_id: bool
    ) -> None:
        self._look_up, self._to_id, self._to_cell, self._or_id = look_up, to_id, to_cell, or_id
        self._known: dict[Key, Cell] = {}

    def of(self, keys: Iterable[Key]) -> Mapping[Key, Cell]:
        """A cell for each of these keys at least."""
        wanted = set(keys)
        if len(self._known) + len(wanted) > _KEPT_NAMES:
            self._known.clear()
        new = [(key, self._to_id(key)) for key in wanted - self._known.keys()]
        for start in range(0, len(new), _NAMES_AT_ONCE):
            some = new[start : start + _NAMES_AT_ONCE]
            ids = [one for _, one in some if one]
            names = self._look_up(ids) if self._look_up and ids else {}
            self._known |= {key: self._to_cell(names.get(one) or (one if self._or_id else "")) for key, one in some}
        return self._known


def with_names(lines: Sequence[bytes], clients: Naming[bytes, bytes], policies: Naming[bytes, bytes]) -> list[bytes]:
    """The lines with names in place of keys."""
    split = [line.split(b",", 3) for line in lines]
    for n, parts in enumerate(split):
        if parts[1][:1] == b'"' or parts[2][:1] == b'"':  # a key with a comma, a quote or a line break in it
            split[n] = list(_KEYS.findall(lines[n])[0])
    client, policy = clients.of(parts[1] for parts in split), policies.of(parts[2] for parts in split)
    return [b",".join((moment, client[one], policy[other], rest)) for moment, one, other, rest in split]


def csv_value(field: bytes) -> str:
    """A field's text."""
    return (field[1:-1].replace(b'""', b'"') if field.startswith(b'"') else field).decode()


def csv_cell(text: str) -> bytes:
    """A text as a cell, as inert as PostgreSQL makes the others."""
    if _INNOCENT.fullmatch(text):  # nearly every name
        return text.encode()
    text = re.sub(AFTER_SPLIT, r"\1'", text.replace("\0", "").translate(PICTURES))
    text = f"'{text}" if re.search(AT_START, text) else text
    quoted = '"' + text.replace('"', '""') + '"' if re.search('[",\r\n]', text) else text
    return quoted.encode(errors="replace")
