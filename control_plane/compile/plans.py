"""Proxies → the plans by which ext_proc handles their requests."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.compile.lanes import choose_lane
from control_plane.compile.model import PLAN, XdsResource, digest
from control_plane.compile.wiring import Wiring
from control_plane.resources import Key, Proxy, Resource, Template, Upstream
from ext_proc.plan import Message, Plan, TemplatePlan, encode
from ext_proc.template import Template as WorkersTemplate


def compile_plan(proxy: Proxy, wiring: Wiring, resources: Mapping[Key, Resource]) -> XdsResource:
    """The plan of a proxy whose references are known to exist."""
    choice = proxy.spec.upstreams[0]
    upstream = resources[Key("upstreams", choice.name)]
    assert isinstance(upstream, Upstream)
    template = _template_of(proxy, resources)
    lane = choose_lane(proxy)
    plan = Plan(
        name=wiring.name,
        proxy=proxy.metadata.name,
        lane=lane.lane,
        why=lane.why,
        dialect=upstream.spec.dialect,
        model=choice.model,
        template=None if template is None else _template_plan(template),
        params={**(template.spec.params if template else {}), **proxy.spec.params},
        allow_params=_allowed(proxy),
        credential=wiring.credential,
        restore=proxy.spec.restore,
    )
    body = encode(plan)
    return XdsResource(PLAN, wiring.name, digest(body), body)


def check_template(template: Template) -> None:
    """Raises ext_proc.errors.PlanRejected if a worker would refuse plans with this template."""
    WorkersTemplate(_template_plan(template))


def _template_of(proxy: Proxy, resources: Mapping[Key, Resource]) -> Template | None:
    name = proxy.spec.template_name
    if name is None:
        return None
    template = resources[Key("templates", name)]
    assert isinstance(template, Template)
    return template


def _template_plan(template: Template) -> TemplatePlan:
    messages = tuple(Message(role=m.role, content=m.content) for m in template.spec.messages)
    return TemplatePlan(
        name=template.metadata.name, messages=messages, variables=template.spec.variables
    )


def _allowed(proxy: Proxy) -> tuple[str, ...] | None:
    if proxy.spec.allowParams is not None:
        return tuple(sorted(proxy.spec.allowParams))
    return None if proxy.spec.template is None else ()
