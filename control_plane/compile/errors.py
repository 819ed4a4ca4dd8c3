"""What can be wrong with a unit, and the JSON of an error that Envoy answers by itself.

Unservable      a resource cannot be made into anything
├── Unusable    something is missing or broken: its last good version may stand in for it
└── Denied      it is not allowed (any more): nothing may stand in for it
"""

from __future__ import annotations

import json

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString


class Unservable(Exception):
    """The text is fit to be shown, and says the next step."""


class Unusable(Unservable):
    """Something that it needs is missing, or the compiler failed."""


class Denied(Unservable):
    """It would break a rule, such as a credential's `allowedHosts`."""


def error_format(
    code: str, message: str, kind: str = "invalid_request_error"
) -> SubstitutionFormatString:
    """`{"error": {…, "request_id": …}}`; Envoy fills in the request id, which it made itself."""
    error = {
        "message": message.replace("%", "%%"),
        "type": kind,
        "param": None,
        "code": code,
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    text = json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":"))
    return SubstitutionFormatString(
        text_format_source=DataSource(inline_string=text), content_type="application/json"
    )
