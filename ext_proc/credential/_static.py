"""A static credential: a secret is the value of one header.

What a header's value may hold: https://www.rfc-editor.org/rfc/rfc9110#section-5.5
"""

from __future__ import annotations

import re
from typing import Final

from ext_proc.errors import PlanRejected

_LEGAL: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?\Z")


def header_value(secret: bytes) -> str:
    """The secret as the value of a header; a newline at the end is no part of it.

    Raises:
        PlanRejected: it cannot stand in a header. The text does not hold it.
    """
    try:
        text = secret.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""  # no `from`: the cause would carry the secret's bytes
    if not _LEGAL.match(text):
        raise PlanRejected("the secret is empty or holds characters that no header may have")
    return text
