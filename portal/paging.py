"""Keyset pages: a page begins after (or ends before) a row, so that the thousandth page costs as much as the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flask import request

Row = TypeVar("Row")
SIZE = 25
LIMIT = SIZE + 1  # one row more than shown tells whether there is another page


@dataclass(frozen=True, slots=True)
class Edge:
    """Where the wanted page lies: beside the row of this id, after it or before it. No id: the first page."""

    row_id: int | None = None
    backwards: bool = False

    @property
    def comparison(self) -> str:
        """The operator between a row's sort key and the edge's."""
        return "<" if self.backwards else ">"

    @property
    def order(self) -> str:
        """The direction to read in from the edge."""
        return "DESC" if self.backwards else "ASC"


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """The rows shown, and the ids after and before which there are more."""

    rows: list[Row]
    next_after: int | None
    previous_before: int | None


def wanted_edge() -> Edge:
    """The edge that the request's address asks for."""
    after, before = (request.args.get(name, type=int) for name in ("after", "before"))
    return Edge(after) if after is not None or before is None else Edge(before, backwards=True)


def page_of(found: list[Row], edge: Edge, row_id: Callable[[Row], int]) -> Page[Row]:
    """The page made of up to LIMIT rows that were read from the edge on."""
    more, shown = len(found) > SIZE, found[:SIZE]
    if edge.backwards:
        shown.reverse()
    has_next, has_previous = (True, more) if edge.backwards else (more, edge.row_id is not None)
    return Page(
        shown,
        row_id(shown[-1]) if shown and has_next else None,
        row_id(shown[0]) if shown and has_previous else None,
    )
