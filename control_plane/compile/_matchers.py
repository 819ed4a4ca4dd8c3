"""Envoy's unified matchers (`xds.type.matcher.v3.Matcher`), serialised piece by piece.

Every function gives bytes: a `Matcher`, an `OnMatch`, or an entry of a map. A piece is put around
another without parsing it again, so that one proxy's change copies the bytes of all the others,
and does no more with them. (A message may be serialised in parts: protobuf joins them.)

Specification: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.route.v3.route_components_pb2 import Route, RouteList
from envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import FilterStateInput
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from google.protobuf.message import Message
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.regex_pb2 import RegexMatcher
from xds.type.matcher.v3.string_pb2 import StringMatcher

from control_plane.compile._proto import field, pack, serialised

_Tree = Matcher.MatcherTree
_List = Matcher.MatcherList
_Map = Matcher.MatcherTree.MatchMap


def header(name: str) -> HttpRequestHeaderMatchInput:
    """The value of a request header."""
    return HttpRequestHeaderMatchInput(header_name=name)


def filter_state(key: str) -> FilterStateInput:
    """The value of a filter state object."""
    return FilterStateInput(key=key)


def to_route(route: Route | RouteList) -> bytes:
    """Ends the search at a route (or at the first that matches of a list)."""
    return serialised(Matcher.OnMatch(action=_extension("route", route)))


def to_matcher(matcher: bytes) -> bytes:
    """Goes on searching."""
    return field(Matcher.OnMatch, "matcher", matcher)


def entry(key: str, on_match: bytes) -> bytes:
    """One branch of a tree."""
    return field(_Map, "map", field(_Map.MapEntry, "key", key.encode()) + _value(on_match))


def by_prefix(value: Message, entries: Iterable[bytes], otherwise: bytes) -> bytes:
    """Takes the branch whose key is the longest prefix of the value."""
    return _by("prefix_match_map", value, entries, otherwise)


def by_value(value: Message, entries: Iterable[bytes], otherwise: bytes) -> bytes:
    """Takes the branch whose key is the value."""
    return _by("exact_match_map", value, entries, otherwise)


def if_present(value: Message, then: bytes, otherwise: bytes) -> bytes:
    """`then` where the value is there and not empty."""
    return if_matches(value, "(?s).+", then, otherwise)


def if_matches(value: Message, regex: str, then: bytes, otherwise: bytes) -> bytes:
    """`then` where the whole value fits the regular expression (RE2)."""
    pattern = RegexMatcher(google_re2=RegexMatcher.GoogleRE2(), regex=regex)
    predicate = _List.Predicate(
        single_predicate=_List.Predicate.SinglePredicate(
            input=_extension("value", value), value_match=StringMatcher(safe_regex=pattern)
        )
    )
    condition = serialised(_List.FieldMatcher(predicate=predicate))
    matcher = condition + field(_List.FieldMatcher, "on_match", then)
    found = field(Matcher, "matcher_list", field(_List, "matchers", matcher))
    return found + field(Matcher, "on_no_match", otherwise)


def _by(kind: str, value: Message, entries: Iterable[bytes], otherwise: bytes) -> bytes:
    branches = field(_Tree, kind, b"".join(entries))
    tree = serialised(_Tree(input=_extension("value", value))) + branches
    return field(Matcher, "matcher_tree", tree) + field(Matcher, "on_no_match", otherwise)


def _value(on_match: bytes) -> bytes:
    return field(_Map.MapEntry, "value", on_match)


def _extension(name: str, message: Message) -> TypedExtensionConfig:
    return TypedExtensionConfig(name=name, typed_config=pack(message))
