"""Strips the white space around a text that arrives in pieces.

A base model writes " 따뜻한 …\\n": the space after the label and the line break before the next turn are
the transcript's, not the answer's.
"""

from __future__ import annotations


class Trimmer:
    """Feed pieces, get pieces: their concatenation is the whole text, stripped."""

    def __init__(self) -> None:
        self._held = ""
        self._started = False

    def feed(self, piece: str) -> str:
        """What may be passed on now: trailing white space waits until something follows it."""
        text = self._held + piece
        if not self._started:
            text = text.lstrip()
        kept = text.rstrip()
        self._held = text[len(kept) :]
        self._started = self._started or bool(kept)
        return kept
