"""Flush without being asked: when a journal has grown, and every so many seconds."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable

from parquedb.namespace.live import LiveNamespace

_MADE_NAME = re.compile(r"[0-9a-f-]{16,}")
"""What is another one in each attempt."""


class Flusher:
    """Flushes the collections of a database.

    What cannot be flushed is as safe in the journal: nobody's write fails because of it. It is
    logged, once for each collection and reason.

    Args:
        opened: Returns the namespaces that are open.
        seconds: The time between flushes in the background, None for none.
    """

    def __init__(
        self, opened: Callable[[], Iterable[LiveNamespace]], seconds: float | None
    ) -> None:
        self._opened = opened
        self._told: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if seconds is not None:
            self._thread = threading.Thread(
                target=self._keep_flushing, args=(seconds,), name="parquedb-flusher", daemon=True
            )
            self._thread.start()

    def after_write(self, space: LiveNamespace) -> None:
        """Flush if the journal has grown enough."""
        if space.needs_flush():
            self.flush(space)

    def flush(self, space: LiveNamespace) -> None:
        """Flush, or say in the log why not."""
        from parquedb.namespace.flush import flush  # noqa: PLC0415  (a get does without)

        try:
            flush(space)
            self._told.pop(space.name, None)
        except Exception as error:  # noqa: BLE001  (whatever it is, the write before it was done)
            space.put_off_flush()
            reason = str(error) or repr(error)
            kind = _MADE_NAME.sub("", reason)
            if self._told.get(space.name) != kind:
                self._told[space.name] = kind
                import logging  # noqa: PLC0415  (a get does without)

                logging.getLogger("parquedb").warning(
                    "%r could not be flushed; its writes stay in the journal: %s",
                    space.name,
                    reason,
                )

    def close(self) -> None:
        """Stop, after a flush that is under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_flushing(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            for space in self._opened():
                self.flush(space)
