"""Words written out in a statement, where one plan does not suit all of them: what is rare and what is not, what has an index."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql


def is_one_of(column: str, words: Sequence[str]) -> sql.Composed:
    """The condition, for statements that are run with parameters: a per cent sign is doubled.

    A single word is compared by `=`: an index whose first column is compared with several is not read in its order.
    """
    one_or_more = "{} = {}" if len(words) == 1 else "{} IN ({})"
    literals = [sql.Literal(word.replace("%", "%%")) for word in words]
    return sql.SQL(one_or_more).format(sql.SQL(column), sql.SQL(", ").join(literals))
