"""What a route says to each filter of the chain (`filters.py`), by lane.

The interlock: a route that promises something names its plan, and only a request that carries that
plan's name in the dynamic metadata of ext_proc goes on, with a credential if one is promised.
Callers cannot set metadata. In the native lane the promise is the credential alone, and the
cluster's own chain keeps it (`clusters.py`).

Most proxies have a worker, and a credential in the header `authorization`; what their routes would
say is said once, on the virtual host. There the interlock is an expression (CEL): the plan in the
metadata must be the one that the *route* is named after. All other routes say what is different.

On `/v1` the entry route has fixed the chain, with every filter in it, before the proxy's own route
is found; so there a route also says to which filters it has nothing to say.
"""

from __future__ import annotations

from typing import Final

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as Mutation
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.rbac.v3 import rbac_pb2 as rules
from envoy.config.route.v3.route_components_pb2 import FilterConfig
from envoy.extensions.filters.http.buffer.v3.buffer_pb2 import BufferPerRoute
from envoy.extensions.filters.http.ext_proc.v3.ext_proc_pb2 import (
    ExtProcOverrides,
    ExtProcPerRoute,
)
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutationPerRoute,
    Mutations,
)
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.api.expr.v1alpha1.syntax_pb2 import Expr
from google.protobuf.any_pb2 import Any

from control_plane.compile import _cel as cel
from control_plane.compile import filters
from control_plane.compile._proto import pack
from control_plane.compile.wiring import Wiring
from ext_proc import contract

PLAN_HEADER: Final = "x-naru-plan"
"""On every answer: the plan's name and, where a worker had a part in it, a dot and the hash of its
content."""

_USUAL_HEADER: Final = "authorization"
_ANYTHING: Final = rules.Permission(any=True)

FilterConfigs = dict[str, Any]
"""What a route says to each filter, by the filter's name."""


def for_all(body_limit: int) -> FilterConfigs:
    """What the virtual host says, and so every route that says nothing else."""
    return {
        filters.EXT_PROC_FILTER: _ext_proc(filters.request_only()),
        filters.BUFFER_FILTER: pack(BufferPerRoute(buffer=filters.hold_body(body_limit))),
        filters.PROCESSED_FILTER: _headers(_processed_headers()),
        filters.RBAC_FILTER: _allow(_ANYTHING, _handled_by_the_routes_plan()),
    }


def for_lane(wiring: Wiring) -> FilterConfigs:
    """What a proxy's route under `/p/` says."""
    return _absent() | _native(wiring) if wiring.lane == "native" else _different(wiring)


def for_lane_by_model(wiring: Wiring) -> FilterConfigs:
    """What a proxy's route under `/v1/` says."""
    if wiring.lane == "native":
        return _without_body_filters() | _native(wiring)
    return _different(wiring)


def for_refusal() -> FilterConfigs:
    """What a direct response says: nothing to process, and nothing can go on from it."""
    return {**_without_body_filters(), filters.RBAC_FILTER: _allow(_ANYTHING)}


def for_entry() -> FilterConfigs:
    """What the /v1 entry route says: read the body's `model` and look again.

    The filters are there (the first route fixes the chain) and each follows the route then found.
    """
    return {
        **for_refusal(),
        filters.JSON_FILTER: pack(FilterConfig(config=pack(filters.read_model()))),
        filters.STATE_FILTER: pack(FilterConfig(config=filters.set_proxy())),
    }


def _without_body_filters() -> FilterConfigs:
    return {
        filters.EXT_PROC_FILTER: pack(FilterConfig(config=pack(ExtProcPerRoute(disabled=True)))),
        filters.BUFFER_FILTER: pack(FilterConfig(config=pack(BufferPerRoute(disabled=True)))),
    }


def _absent() -> FilterConfigs:
    """Filters that are not even made for a request."""
    names = (filters.EXT_PROC_FILTER, filters.BUFFER_FILTER, filters.PROCESSED_FILTER)
    return {name: pack(FilterConfig(disabled=True)) for name in names}


def _native(wiring: Wiring) -> FilterConfigs:
    return {
        filters.RBAC_FILTER: _allow(_ANYTHING),
        filters.HEADER_FILTER: _headers(Mutations(response_mutations=[_plan(wiring.name)])),
    }


def _different(wiring: Wiring) -> FilterConfigs:
    """What a route with a worker says beside the virtual host."""
    configs: FilterConfigs = {}
    credential, mutations = wiring.credential, Mutations()
    if wiring.lane == "duplex":  # what is compressed cannot be restored
        configs[filters.EXT_PROC_FILTER] = _ext_proc(filters.both_ways())
        mutations.request_mutations.append(Mutation(remove="accept-encoding"))
    if credential is None:
        configs[filters.RBAC_FILTER] = _allow(_handled_by(wiring))
    elif credential.header.lower() != _USUAL_HEADER:
        mutations.request_mutations.append(Mutation(remove=_USUAL_HEADER))
        mutations.request_mutations.append(_credential(credential.header))
    if mutations.request_mutations:
        configs[filters.PROCESSED_FILTER] = _headers(mutations)
    return configs


def _processed_headers() -> Mutations:
    json = _set("content-type", "application/json")  # what ext_proc writes
    return Mutations(
        request_mutations=[json, _credential(_USUAL_HEADER)],
        response_mutations=[_plan(_metadata_of(contract.VERSION))],
    )


def _credential(header: str) -> Mutation:
    return _set(header, _metadata_of(contract.CREDENTIAL))


def _ext_proc(mode: ProcessingMode) -> Any:
    return pack(ExtProcPerRoute(overrides=ExtProcOverrides(processing_mode=mode)))


def _headers(mutations: Mutations) -> Any:
    return pack(HeaderMutationPerRoute(mutations=mutations))


def _plan(value: str) -> Mutation:
    return _set(PLAN_HEADER, value)


def _metadata_of(key: str) -> str:
    return f"%DYNAMIC_METADATA({contract.NAMESPACE}:{key})%"


def _set(name: str, value: str) -> Mutation:
    return Mutation(
        append=HeaderValueOption(
            header=HeaderValue(key=name, value=value),
            append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
    )


def _handled_by(wiring: Wiring) -> rules.Permission:
    path = [MetadataMatcher.PathSegment(key=contract.PLAN)]
    value = ValueMatcher(string_match=StringMatcher(exact=wiring.name))
    matcher = MetadataMatcher(filter=contract.NAMESPACE, path=path, value=value)
    return rules.Permission(sourced_metadata=rules.SourcedMetadata(metadata_matcher=matcher))


def _handled_by_the_routes_plan() -> Expr:
    """`metadata.filter_metadata["naru"]["plan"] == xds.route_name`, and a credential that is not
    empty. What is missing is an error, and an error is no permission."""
    metadata = cel.index(cel.select("metadata", "filter_metadata"), contract.NAMESPACE)
    plan, credential = (cel.index(metadata, key) for key in (contract.PLAN, contract.CREDENTIAL))
    same = cel.call("_==_", plan, cel.select("xds", "route_name"))
    return cel.call("_&&_", same, cel.call("_!=_", credential, cel.text("")))


def _allow(permission: rules.Permission, condition: Expr | None = None) -> Any:
    policy = rules.Policy(
        permissions=[permission], principals=[rules.Principal(any=True)], condition=condition
    )
    allowing = rules.RBAC(action=rules.RBAC.ALLOW, policies={"allowed": policy})
    return pack(RBACPerRoute(rbac=RBAC(rules=allowing)))
