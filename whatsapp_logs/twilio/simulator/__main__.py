"""`python -m whatsapp_logs.twilio.simulator`: the simulator as a process of its own."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from whatsapp_logs.twilio.simulator import Simulator


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or Ctrl-C. The account comes from the environment, as the portal's does.

    TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN are required; TWILIO_WHATSAPP_FROM is the sender, PUBLIC_BASE_URL the
    fixed part of media URLs in templates, SIMULATOR_INBOUND_URL where customers' answers are posted.
    """
    options = _parser().parse_args(argv)
    try:
        account_sid, auth_token = os.environ["TWILIO_ACCOUNT_SID"], os.environ["TWILIO_AUTH_TOKEN"]
    except KeyError as missing:
        print(f"{missing.args[0]} is not set: the simulator needs the account it plays", file=sys.stderr)
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.state != ":memory:":
        Path(options.state).parent.mkdir(parents=True, exist_ok=True)
    simulator = Simulator(
        account_sid, auth_token, port=options.port, state=options.state, pace=options.pace, seed=options.seed,
        whatsapp_from=_sender(os.environ.get("TWILIO_WHATSAPP_FROM", "")),
    )  # fmt: skip
    simulator.settings.media_base_url = os.environ.get("PUBLIC_BASE_URL") or simulator.settings.media_base_url
    simulator.settings.inbound_url = options.inbound_url or os.environ.get("SIMULATOR_INBOUND_URL") or None
    try:
        simulator.start()
    except OSError as error:
        print(f"The simulator cannot listen on 127.0.0.1:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"Twilio simulator on {simulator.base_url} - nothing leaves this machine", flush=True)
    stop.wait()
    simulator.stop()
    return 0


def _sender(configured: str) -> str | None:
    return f"whatsapp:{configured.strip().removeprefix('whatsapp:')}" if configured.strip() else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulate", description="A Twilio for this machine, with a phone to play.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: any free one)")
    parser.add_argument("--state", default=":memory:", help="file that keeps messages (default: memory only)")
    parser.add_argument("--pace", type=float, default=1.0, help="multiplies every delay; 0 = at once (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="makes random faults repeatable")
    parser.add_argument("--inbound-url", default=None, help="webhook that is told what customers answer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
