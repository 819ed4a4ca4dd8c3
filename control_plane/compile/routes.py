"""Proxies → the RouteConfiguration.

Routes are found by a tree, so that a request costs the same with ten proxies and ten thousand:
`/p/{proxy}` and `/p/{proxy}/v1/…` by path; `/v1/…` by the filter state `naru.proxy`, which the
listener's filters have read from `model` in the body. The inner matches are exact: `/p/menux` never
reaches `menu`. On `/v1` a request first meets the *entry* route, which can only refuse; it goes on
when a proxy's route is found once the body has been read.

Envoy takes all routes anew with every change of one, so what most proxies share is said once, on
the virtual host (`per_route.for_all`), and a proxy's own bytes are kept and only copied.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    RetryPolicy,
    Route,
    RouteAction,
    RouteList,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.wrappers_pb2 import UInt32Value, UInt64Value

from control_plane.compile import _matchers as match
from control_plane.compile import filters, per_route
from control_plane.compile._proto import duration, field, serialised
from control_plane.compile.errors import error_format
from control_plane.compile.local_replies import NO_PROXY
from control_plane.compile.model import ROUTE, XdsResource, digest
from control_plane.compile.settings import GatewaySettings
from control_plane.compile.wiring import Wiring

NAME: Final = "naru"
"""Name of the one RouteConfiguration."""
_WAYS_IN: Final = "Call POST /p/{proxy}, /p/{proxy}/v1/… or /v1/…."
_PATH: Final = match.header(":path")


@dataclass(frozen=True, slots=True)
class Branches:
    """What a proxy adds, serialised.

    Attributes:
        by_path: an entry of the tree of paths.
        by_model: an entry of the tree of models.
        listed: its entry in `GET /v1/models`.
    """

    proxy: str
    by_path: bytes
    by_model: bytes
    listed: str


def compile_branches(wiring: Wiring, settings: GatewaySettings) -> Branches:
    """The routes of one proxy."""
    name = wiring.proxy
    return Branches(
        name,
        match.entry(f"/p/{name}", match.to_route(_path_routes(wiring, settings))),
        match.entry(name, match.to_route(_model_route(wiring, settings))),
        _json({"id": name, "object": "model", "created": 0, "owned_by": "naru"}),
    )


def compile_routes(
    branches: Iterable[Branches], settings: GatewaySettings, aside: Iterable[str] = ()
) -> XdsResource:
    """All routes of all proxies; `aside` are those that exist and have nothing to serve."""
    ordered = sorted(branches, key=lambda each: each.proxy)
    models = f'{{"object":"list","data":[{",".join([each.listed for each in ordered])}]}}'
    root = _by_method(
        _uncompressed(_by_path([*ordered, *map(_aside, sorted(aside))], settings)), models
    )
    host = VirtualHost(
        name=NAME,
        domains=["*"],
        retry_policy=RetryPolicy(
            retry_on="connect-failure,refused-stream", num_retries=UInt32Value(value=1)
        ),
        typed_per_filter_config=per_route.for_all(settings.max_body_bytes),
    )
    routes = RouteConfiguration(
        name=NAME,
        max_direct_response_body_size_bytes=UInt32Value(value=max(4096, len(models.encode()))),
    )
    body = serialised(host) + field(VirtualHost, "matcher", root)
    body = serialised(routes) + field(RouteConfiguration, "virtual_hosts", body)
    return XdsResource(ROUTE, NAME, digest(body), body)


def _by_method(posted: bytes, models: str) -> bytes:
    """Calls are POSTs, whatever a provider would make of another method; GET lists the models."""
    refusal = match.to_route(_refusal(405, "method_not_allowed", _WAYS_IN))
    listed = match.entry("/v1/models", match.to_route(_models(models)))
    branches = (
        match.entry("GET", match.to_matcher(match.by_value(_PATH, [listed], refusal))),
        match.entry("POST", match.to_matcher(posted)),
    )
    return match.by_value(match.header(":method"), branches, refusal)


def _uncompressed(matcher: bytes) -> bytes:
    refusal = _refusal(415, "compressed_body", "Send the body without content-encoding.")
    encoding = match.header("content-encoding")
    return match.if_present(encoding, match.to_route(refusal), match.to_matcher(matcher))


def _by_path(proxies: Sequence[Branches], settings: GatewaySettings) -> bytes:
    others = (
        match.entry("/p/", match.to_route(_no_proxy())),
        match.entry("/v1/", match.to_matcher(_json_only(_by_model(proxies, settings)))),
    )
    nothing = match.to_route(_refusal(404, "not_found", _WAYS_IN))
    return match.by_prefix(_PATH, [*others, *[each.by_path for each in proxies]], nothing)


def _json_only(matcher: bytes) -> bytes:
    refusal = _refusal(
        415, "unsupported_media_type", "Send JSON, as content-type application/json."
    )
    content_type = match.header("content-type")
    return match.if_matches(
        content_type, filters.JSON_TYPE, match.to_matcher(matcher), match.to_route(refusal)
    )


def _by_model(proxies: Sequence[Branches], settings: GatewaySettings) -> bytes:
    no_model = _refusal(400, "missing_model", "The body names no model. Set it to a proxy's name.")
    not_json = _refusal(400, "invalid_json", "The body is not a JSON object.")
    others = (
        match.entry(filters.NOT_JSON, match.to_route(not_json)),
        match.entry(filters.NO_MODEL, match.to_route(no_model)),
    )
    unknown = _refusal(404, "model_not_found", "No proxy has this name. GET /v1/models lists them.")
    proxy = match.filter_state(filters.PROXY_STATE)
    not_found = match.if_present(proxy, match.to_route(unknown), match.to_route(_entry(settings)))
    entries = [*others, *[each.by_model for each in proxies]]
    return match.by_value(proxy, entries, match.to_matcher(not_found))


def _path_routes(wiring: Wiring, settings: GatewaySettings) -> RouteList:
    # Where nobody holds bodies, the router still keeps so much of one, to send it a second time.
    native = wiring.lane == "native"
    limit = settings.max_parsed_body_bytes if native else settings.max_body_bytes
    config = per_route.for_lane(wiring)
    simple, sdk = _ways_to(wiring.proxy)
    if native:
        first = _needs_template(wiring.proxy, simple)
    else:
        first = _route(wiring, simple, f"{wiring.base_path}/chat/completions", config, limit)
    # Where neither fits (`/p/menux`), there is no route, and so nothing that the chain lets pass.
    return RouteList(routes=[first, _route(wiring, sdk, f"{wiring.base_path}/", config, limit)])


def _model_route(wiring: Wiring, settings: GatewaySettings) -> Route:
    limit = settings.max_parsed_body_bytes
    config = per_route.for_lane_by_model(wiring)
    return _route(wiring, RouteMatch(prefix="/v1/"), f"{wiring.base_path}/", config, limit)


def _route(
    wiring: Wiring,
    found: RouteMatch,
    rewrite: str,
    config: per_route.FilterConfigs,
    body_limit: int,
) -> Route:
    action = RouteAction(
        cluster=wiring.cluster,
        prefix_rewrite=rewrite,
        host_rewrite_literal=wiring.authority,
        timeout=duration(wiring.timeout),
    )
    return Route(
        name=wiring.name,
        match=found,
        route=action,
        request_body_buffer_limit=UInt64Value(value=body_limit),
        typed_per_filter_config=config,
    )


def _needs_template(proxy: str, match: RouteMatch) -> Route:
    """The simplified request, to a proxy that has nothing to make of it."""
    chat = f"/p/{proxy}/v1/chat/completions"
    message = f"This proxy has no prompt template: call POST {chat}."
    route = _refusal(400, "template_required", message)
    route.match.CopyFrom(match)
    return route


def _entry(settings: GatewaySettings) -> Route:
    """Where a `/v1` request waits until its body has been read, and ends if that cannot be."""
    route = _refusal(400, "missing_model", "The body names no model. Set it to a proxy's name.")
    route.name = "v1-entry"
    route.request_body_buffer_limit.value = settings.max_parsed_body_bytes
    for name, config in per_route.for_entry().items():
        route.typed_per_filter_config[name].CopyFrom(config)
    return route


def _no_proxy() -> Route:
    return _refusal(404, "proxy_not_found", NO_PROXY)


def _aside(proxy: str) -> Branches:
    """What a proxy answers that is set aside, without a last good version."""
    message = f"The proxy {proxy} is set aside: naru status says why."
    refusal = _refusal(503, "proxy_rejected", message, "server_error")
    routes = [Route(), Route()]
    for route, found in zip(routes, _ways_to(proxy), strict=True):
        route.CopyFrom(refusal)
        route.match.CopyFrom(found)
    by_path = match.entry(f"/p/{proxy}", match.to_route(RouteList(routes=routes)))
    return Branches(proxy, by_path, match.entry(proxy, match.to_route(refusal)), "")


def _ways_to(proxy: str) -> tuple[RouteMatch, RouteMatch]:
    """The simplified request, and a provider's SDK."""
    return RouteMatch(path=f"/p/{proxy}"), RouteMatch(prefix=f"/p/{proxy}/v1/")


def _refusal(status: int, code: str, message: str, kind: str = "invalid_request_error") -> Route:
    return Route(
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(
            status=status, body_format=error_format(code, message, kind)
        ),
        typed_per_filter_config=per_route.for_refusal(),
    )


def _models(body: str) -> Route:
    """`GET /v1/models`: Envoy itself answers."""
    return Route(
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(
            status=200,
            body=DataSource(inline_string=body),
            body_format=SubstitutionFormatString(
                text_format_source=DataSource(inline_string="%LOCAL_REPLY_BODY%"),
                content_type="application/json",
            ),
        ),
        typed_per_filter_config=per_route.for_refusal(),
    )


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
