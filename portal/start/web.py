"""What granian's worker processes load: the portal, tied to granian's main process.

Were granian's main process killed with -9, its workers would go on holding the port; the kernel ends them instead.
"""

from __future__ import annotations

import signal

from portal.start.lifeline import end_with_parent_now

end_with_parent_now(signal.SIGKILL)

from portal.wsgi import app  # noqa: E402 - first the lifeline: loading takes a second

__all__ = ["app"]
