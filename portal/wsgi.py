"""The application for a WSGI server: `granian --interface wsgi portal.wsgi:app`."""

from __future__ import annotations

import gc
import logging

from portal.app import create_app

# Who signed in, who was refused, what was exported: decisions are lines of level INFO, which nobody writes down by default.
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

app = create_app()

# What the program consists of stays until it ends, and no collection of garbage looks through it again: a whole one took 42 ms of
# every request that was under way.
gc.collect()
gc.freeze()
