"""The JSON of an error that Envoy answers by itself, in the shape that OpenAI's SDKs read."""

from __future__ import annotations

import json

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString


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
