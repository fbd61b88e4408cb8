"""The application for a WSGI server: `granian --interface wsgi portal.wsgi:app`."""

from __future__ import annotations

import logging

from portal.app import create_app

# Who signed in, who was refused, what was exported: decisions are lines of level INFO, which nobody writes down by default.
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

app = create_app()
