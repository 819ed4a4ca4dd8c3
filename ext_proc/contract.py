"""What Envoy's ext_proc filter and a worker must agree on: attributes one way, metadata the other.

The compiler configures the filter with these names, the worker reads and writes by them.
"""

from __future__ import annotations

from typing import Final

ATTRIBUTES: Final = "envoy.filters.http.ext_proc"
"""Under this key the filter sends the attributes."""
ROUTE_NAME: Final = "xds.route_name"
PATH: Final = "request.path"
REQUEST_ID: Final = "request.id"
CONTENT_TYPE: Final = "request.headers['content-type']"
REQUEST_ATTRIBUTES: Final = (ROUTE_NAME, PATH, REQUEST_ID, CONTENT_TYPE)
"""What Envoy sends along with the body; CEL expressions."""

NAMESPACE: Final = "naru"
"""Of the dynamic metadata that a worker answers with; no caller can write to it."""
PLAN: Final = "plan"
"""Name of the plan that handled the request; the interlock compares it with the route's."""
VERSION: Final = "version"
"""The same, a dot, and the hash of the plan's content."""
CREDENTIAL: Final = "credential"
"""The value of the credential's header; absent if the plan has none."""
