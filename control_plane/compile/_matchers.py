"""Builders for Envoy's unified matchers (`xds.type.matcher.v3.Matcher`)."""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.route.v3.route_components_pb2 import Route, RouteList
from envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import FilterStateInput
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from google.protobuf.message import Message
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.regex_pb2 import RegexMatcher
from xds.type.matcher.v3.string_pb2 import StringMatcher

from control_plane.compile._proto import pack


def header(name: str) -> HttpRequestHeaderMatchInput:
    """The value of a request header."""
    return HttpRequestHeaderMatchInput(header_name=name)


def filter_state(key: str) -> FilterStateInput:
    """The value of a filter state object."""
    return FilterStateInput(key=key)


def to_route(route: Route | RouteList) -> Matcher.OnMatch:
    """Ends the search at a route (or at the first that matches of a list)."""
    return Matcher.OnMatch(action=_extension("route", route))


def to_matcher(matcher: Matcher) -> Matcher.OnMatch:
    """Goes on searching."""
    return Matcher.OnMatch(matcher=matcher)


def by_prefix(
    value: Message, branches: Mapping[str, Matcher.OnMatch], otherwise: Matcher.OnMatch
) -> Matcher:
    """Takes the branch whose key is the longest prefix of the value."""
    tree = Matcher.MatcherTree(
        input=_extension("value", value),
        prefix_match_map=Matcher.MatcherTree.MatchMap(map=branches),
    )
    return Matcher(matcher_tree=tree, on_no_match=otherwise)


def by_value(
    value: Message, branches: Mapping[str, Matcher.OnMatch], otherwise: Matcher.OnMatch
) -> Matcher:
    """Takes the branch whose key is the value."""
    tree = Matcher.MatcherTree(
        input=_extension("value", value),
        exact_match_map=Matcher.MatcherTree.MatchMap(map=branches),
    )
    return Matcher(matcher_tree=tree, on_no_match=otherwise)


def if_present(value: Message, then: Matcher.OnMatch, otherwise: Matcher.OnMatch) -> Matcher:
    """`then` where the value is there and not empty."""
    return if_matches(value, "(?s).+", then, otherwise)


def if_matches(
    value: Message, regex: str, then: Matcher.OnMatch, otherwise: Matcher.OnMatch
) -> Matcher:
    """`then` where the whole value fits the regular expression (RE2)."""
    pattern = RegexMatcher(google_re2=RegexMatcher.GoogleRE2(), regex=regex)
    predicate = Matcher.MatcherList.Predicate(
        single_predicate=Matcher.MatcherList.Predicate.SinglePredicate(
            input=_extension("value", value), value_match=StringMatcher(safe_regex=pattern)
        )
    )
    matcher = Matcher.MatcherList.FieldMatcher(predicate=predicate, on_match=then)
    return Matcher(matcher_list=Matcher.MatcherList(matchers=[matcher]), on_no_match=otherwise)


def _extension(name: str, message: Message) -> TypedExtensionConfig:
    return TypedExtensionConfig(name=name, typed_config=pack(message))
