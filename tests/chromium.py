"""The browser for browser tests: `python -m tests.chromium` makes sure there is one, where that can be done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Playwright's own node needs libatomic1; without fonts every text is empty.
PACKAGES = ("chromium-headless-shell", "libatomic1", "fonts-dejavu-core")
MISSING = "No Chromium found. On Debian: apt install " + " ".join(PACKAGES)


def find() -> str | None:
    """Return the path of a Chromium on this machine, or None."""
    return next((path for program in PROGRAMS if (path := shutil.which(program))), None)


def main() -> None:
    if find() or _install():
        return
    if os.environ.get("CI"):
        sys.exit(f"{MISSING}\nIn CI browser tests are not skipped.")
    print(f"{MISSING}\nUntil then browser tests are skipped.", file=sys.stderr)


def _install() -> bool:
    """Install Chromium with the system's own tool where we may; tell whether it is there now."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    print("Installing Chromium for the browser tests ...", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(done.stderr.strip(), file=sys.stderr)
            return False
    return find() is not None


if __name__ == "__main__":
    main()
