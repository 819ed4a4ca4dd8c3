"""A static credential: a prefix and a secret make the value of one header.

What a header's value may hold: https://www.rfc-editor.org/rfc/rfc9110#section-5.5
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ext_proc.errors import CredentialUnavailable, PlanRejected
from ext_proc.plan import CredentialPlan

_LEGAL = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?\Z")


_LEGAL_PREFIX = re.compile(r"(?:[\x21-\x7e][\x20-\x7e]*)?\Z")


def check(plan: CredentialPlan) -> None:
    """Raise `PlanRejected` if the prefix cannot stand in a header."""
    if not _LEGAL_PREFIX.match(plan.prefix):
        raise PlanRejected("the credential's prefix holds characters that no header may have")


def secret_value(secret: bytes) -> str:
    """The secret as part of a header's value; a newline at the end is no part of it.

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


def header_value(plan: CredentialPlan, secrets: Mapping[str, str]) -> str:
    """The value of the header `plan.header`.

    Raises:
        CredentialUnavailable: the secret has not arrived.
    """
    secret = secrets.get(plan.secret)
    if secret is None:
        raise CredentialUnavailable
    return plan.prefix + secret
