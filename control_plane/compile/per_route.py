"""What a route says to each filter of the chain (`filters.py`), by lane.

The interlock: a route that promises something names its plan, and only a request that carries that
plan's name in the dynamic metadata of ext_proc goes on, with a credential if one is promised.
Callers cannot set metadata. In the native lane the promise is the credential alone, and the
cluster's own chain keeps it (`clusters.py`).

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
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutationPerRoute,
    Mutations,
)
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.protobuf.any_pb2 import Any

from control_plane.compile import filters
from control_plane.compile._proto import pack
from control_plane.compile.wiring import Wiring
from ext_proc import contract

PLAN_HEADER: Final = "x-naru-plan"
"""On every answer: the plan's name and, where a worker had a part in it, a dot and the hash of its
content."""

FilterConfigs = dict[str, Any]
"""What a route says to each filter, by the filter's name."""


def for_lane(wiring: Wiring, body_limit: int) -> FilterConfigs:
    """What a proxy's route under `/p/` says."""
    if wiring.lane == "native":
        return {
            filters.RBAC_FILTER: _allow(rules.Permission(any=True)),
            filters.HEADER_FILTER: _headers(Mutations(response_mutations=[_plan(wiring.name)])),
        }
    mode = filters.both_ways() if wiring.lane == "duplex" else filters.request_only()
    overrides = ExtProcOverrides(processing_mode=mode)
    return {
        filters.EXT_PROC_FILTER: pack(ExtProcPerRoute(overrides=overrides)),
        filters.BUFFER_FILTER: pack(BufferPerRoute(buffer=filters.hold_body(body_limit))),
        filters.HEADER_FILTER: _headers(_processed_headers(wiring)),
        filters.RBAC_FILTER: _allow(_handled_by(wiring)),
    }


def for_lane_by_model(wiring: Wiring, body_limit: int) -> FilterConfigs:
    """What a proxy's route under `/v1/` says."""
    absent = _without_body_filters() if wiring.lane == "native" else {}
    return absent | for_lane(wiring, body_limit)


def for_refusal() -> FilterConfigs:
    """What a direct response says: nothing to process, and nothing can go on from it."""
    return {**_without_body_filters(), filters.RBAC_FILTER: _allow(rules.Permission(any=True))}


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


def _processed_headers(wiring: Wiring) -> Mutations:
    mutations = Mutations(
        request_mutations=[_set("content-type", "application/json")],  # what ext_proc writes
        response_mutations=[_plan(_metadata_of(contract.VERSION))],
    )
    if wiring.lane == "duplex":  # what is compressed cannot be restored
        mutations.request_mutations.append(Mutation(remove="accept-encoding"))
    if wiring.credential is not None:
        value = _metadata_of(contract.CREDENTIAL)
        mutations.request_mutations.append(_set(wiring.credential.header, value))
    return mutations


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
    conditions = [_metadata(contract.PLAN, StringMatcher(exact=wiring.name))]
    if wiring.credential is not None:
        something = StringMatcher(safe_regex=RegexMatcher(regex=".+"))
        conditions.append(_metadata(contract.CREDENTIAL, something))
    return rules.Permission(and_rules=rules.Permission.Set(rules=conditions))


def _metadata(key: str, value: StringMatcher) -> rules.Permission:
    path = [MetadataMatcher.PathSegment(key=key)]
    matcher = MetadataMatcher(
        filter=contract.NAMESPACE, path=path, value=ValueMatcher(string_match=value)
    )
    return rules.Permission(sourced_metadata=rules.SourcedMetadata(metadata_matcher=matcher))


def _allow(permission: rules.Permission) -> Any:
    policy = rules.Policy(permissions=[permission], principals=[rules.Principal(any=True)])
    allowing = rules.RBAC(action=rules.RBAC.ALLOW, policies={"allowed": policy})
    return pack(RBACPerRoute(rbac=RBAC(rules=allowing)))
