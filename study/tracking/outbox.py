"""Calls to a service that may be away for a while: kept in order, tried again, reported when they never got through.

Results live in the run directory; the tracking server is a copy of them. So a call that fails must neither stop the
study nor disappear without a word.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

# A server that hangs must not slow the study down: after a failure that took t seconds, wait this many times t.
PAUSE_PER_SECOND_LOST = 10.0
ATTEMPTS_AT_CLOSE = 3
SECONDS_BETWEEN_ATTEMPTS = 0.5
GIVE_UP_AFTER_S = 20.0


class Outbox:
    """First in, first out. A call must be safe to make twice: one that failed may have arrived all the same.

    Args:
        service: name of the service for the warnings, as the user knows it.
        hopeless: whether an error can never go away by trying again (bad value, missing file). Such a call is
            dropped and reported, so that it does not hold up those behind it.
    """

    def __init__(self, service: str, hopeless: Callable[[Exception], bool]) -> None:
        self._service, self._hopeless = service, hopeless
        self._pending: deque[tuple[str, Callable[[], None]]] = deque()
        self._refused: list[tuple[str, str]] = []
        self._last_error = ""
        self._not_before = 0.0

    def __len__(self) -> int:
        """Calls that have not got through yet."""
        return len(self._pending)

    def submit(self, what: str, call: Callable[[], None]) -> None:
        """Make ``call`` after all those before it, later where that fails; ``what`` names it in a warning."""
        self._pending.append((what, call))
        if time.monotonic() >= self._not_before:
            self._flush()

    def close(self) -> list[str]:
        """Try everything that is left for the last time.

        Returns:
            One line for what was refused and one for what did not get through; empty when all is well.
        """
        give_up_at = time.monotonic() + GIVE_UP_AFTER_S
        stuck: list[tuple[str, Callable[[], None]]] = []
        for attempt in range(ATTEMPTS_AT_CLOSE):
            if attempt:
                time.sleep(SECONDS_BETWEEN_ATTEMPTS)
            if self._flush() or time.monotonic() > give_up_at:
                break
        # A call that fails for a reason of its own must not take those behind it along.
        while self._pending and len(stuck) < ATTEMPTS_AT_CLOSE and time.monotonic() < give_up_at:
            stuck.append(self._pending.popleft())
            self._flush()
        self._pending.extendleft(reversed(stuck))
        warnings = []
        if self._refused:
            what, why = self._refused[0]
            warnings.append(f"{self._service} refused {len(self._refused)} call(s), the first: {what}: {why}")
        if self._pending:
            warnings.append(
                f"{self._service} did not answer; {len(self._pending)} call(s) are missing there, "
                f"the first: {self._pending[0][0]}: {self._last_error}"
            )
        return warnings

    def _flush(self) -> bool:
        """Make the waiting calls in order up to the first that fails; whether all got through."""
        while self._pending:
            what, call = self._pending[0]
            start = time.monotonic()
            try:
                call()
            except Exception as error:  # whatever it is, tracking must not end a study; it is reported by close()
                line = one_line(error)
                if not self._hopeless(error):
                    self._last_error = line
                    now = time.monotonic()
                    self._not_before = now + PAUSE_PER_SECOND_LOST * (now - start)
                    return False
                self._refused.append((what, line))
            self._pending.popleft()
        return True


def one_line(error: BaseException) -> str:
    """Type and first line of an error, shortened: enough for a warning."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
