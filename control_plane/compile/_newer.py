"""Messages that Envoy 1.40 has and xds-protos lacks, made with envoy-data-plane.

envoy-data-plane is slow (ARCHITECTURE.md has the numbers), so only what is built once, for the
listener, is made here; everything that grows with the number of resources is made with xds-protos.
"""

from __future__ import annotations

from functools import cache

from envoy_data_plane.envoy.config.core.v3 import DataSource, SubstitutionFormatString
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import FilterStateValue
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import Config
from google.protobuf.any_pb2 import Any


@cache
def set_filter_state(key: str, value_format: str) -> Any:
    """`set_filter_state` of one string, unless it is empty; the route is then looked up again."""
    value = FilterStateValue(
        object_key=key,
        factory_key="envoy.string",
        skip_if_empty=True,
        format_string=SubstitutionFormatString(
            text_format_source=DataSource(inline_string=value_format), omit_empty_values=True
        ),
    )
    return Any(
        type_url="type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
        value=bytes(Config(on_request_headers=[value], clear_route_cache=True)),
    )
