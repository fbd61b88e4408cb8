"""What PostgreSQL cannot keep in a text, made into something it can: no odd character may cost a row, or its whole batch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_SUSPICIOUS = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")  # NUL, or half of a surrogate pair, as JSON writes them
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # no column takes NUL; half a surrogate pair is no character


def storable_json(value: Any) -> str:
    """The value as JSON, every text in it storable. Looking through each text costs most; next to none needs it."""
    text = json.dumps(value, default=str)
    return json.dumps(storable(value), default=str) if _SUSPICIOUS.search(text) else text


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
