"""Who has not answered for too long: streams that owe an answer, and since when. Pure."""

from __future__ import annotations


class Silence:
    """Streams by number; `patience` and all times are in seconds.

    A stream that answers bit by bit is not silent. One that is, stays so until it owes nothing.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: dict[int, float] = {}  # in the order of time
        self.silent: set[int] = set()

    @property
    def deadline(self) -> float | None:
        """When the next one turns silent."""
        first = next(iter(self._since.values()), None)
        return None if first is None else first + self._patience

    def observe(self, stream: int, owing: bool, now: float) -> None:
        """Whether it owes an answer."""
        if not owing:
            self.forget(stream)
        elif stream not in self.silent:
            self._since.setdefault(stream, now)

    def answered(self, stream: int, now: float) -> None:
        """It said something."""
        if self._since.pop(stream, None) is not None:
            self._since[stream] = now

    def forget(self, stream: int) -> None:
        self._since.pop(stream, None)
        self.silent.discard(stream)

    def tick(self, now: float) -> set[int]:
        """Those that have just turned silent."""
        turned = set()
        for stream, since in self._since.items():
            if since + self._patience > now:
                break
            turned.add(stream)
        for stream in turned:
            del self._since[stream]
        self.silent |= turned
        return turned
