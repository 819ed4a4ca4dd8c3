"""Which lane a proxy takes: the cheapest that can do what it asks for, and why.

- native: nothing changes but headers. Envoy alone; no worker is called.
- request: a worker checks and writes the request body, and puts the credential in.
- duplex: that, and the answer streams through the worker as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from control_plane.resources import Proxy
from ext_proc.plan import Lane


class Choice(NamedTuple):
    """A lane, and the reason in an operator's words."""

    lane: Lane
    why: str


def choose_lane(proxy: Proxy) -> Choice:
    """The lane of a proxy."""
    reasons = list(_body_changes(proxy))
    if proxy.spec.restore:
        return Choice("duplex", "; ".join([*reasons, "tokens are restored in the answer"]))
    if reasons:
        return Choice("request", "; ".join(reasons))
    return Choice("native", "bodies pass as they are")


def _body_changes(proxy: Proxy) -> Iterator[str]:
    spec = proxy.spec
    if spec.template is not None:
        yield "a template writes the request body"
    if spec.params:
        yield "params are set"
    if spec.allowParams is not None and spec.template is None:
        yield "the caller's params are checked"
    if any(upstream.model for upstream in spec.upstreams):
        yield "the model is set"
