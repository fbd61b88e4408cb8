"""Tie a child process to its parent, so that not even kill -9 leaves anything behind."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def end_with_parent(sig: signal.Signals) -> Callable[[], None]:
    """Return a `preexec_fn` that has the kernel send `sig` to the child when the thread that started it ends.

    Call Popen from the main thread. The kernel forgets the wish when the user id changes; subprocess runs `preexec_fn`
    after `user=`, so it holds. Other systems than Linux have nothing like it: there the next start clears up.
    """
    prctl = _prctl()
    parent = os.getpid()

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, int(sig))
        if os.getppid() != parent:  # The parent died before the wish was made.
            os._exit(1)

    return tie


def end_with_parent_now(sig: signal.Signals) -> None:
    """Have the kernel send `sig` to this very process when its parent ends; at once where that has happened already.

    The parent is the one that `multiprocessing` knows: loading may take seconds, in which it can be killed.
    """
    _prctl()(PR_SET_PDEATHSIG, int(sig))
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os.kill(os.getpid(), sig)


def _prctl() -> Callable[[int, int], object]:
    if not sys.platform.startswith("linux"):
        return lambda option, value: None
    prctl: Callable[[int, int], object] = ctypes.CDLL(None, use_errno=True).prctl
    return prctl
