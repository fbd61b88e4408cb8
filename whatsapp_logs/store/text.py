"""What PostgreSQL cannot keep in a text, made into something it can: no odd character may cost a row, or its whole batch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # no column takes NUL; half a surrogate pair is no character


def storable(value: Any) -> Any:
    """The value with every text in it, at any depth, made storable; other values as they are."""
    if isinstance(value, str):
        return _UNSTORABLE.sub(_stand_in, value)
    if isinstance(value, Mapping):
        return {storable(str(name)): storable(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(inner) for inner in value]
    return value


def _stand_in(match: re.Match[str]) -> str:
    return "\N{SYMBOL FOR NULL}" if match[0] == "\0" else "\N{REPLACEMENT CHARACTER}"
