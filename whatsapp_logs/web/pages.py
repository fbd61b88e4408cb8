from __future__ import annotations

from flask import Blueprint


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
