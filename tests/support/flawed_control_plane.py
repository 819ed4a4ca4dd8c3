"""The control plane with flaws that nodes refuse; started as a module, as `control_plane.main` is.

A proxy `bad-route-…` compiles to a route that Envoy refuses without a word of whose it is; of a
proxy `bad-plan-…` the plan is refused by every worker.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from control_plane import main
from control_plane.compile import PLAN, GatewaySettings, XdsResource, units
from control_plane.compile.model import digest
from control_plane.compile.plans import compile_plan
from control_plane.compile.routes import Branches, compile_branches
from control_plane.compile.wiring import Wiring
from control_plane.resources import Key, Proxy, Resource
from ext_proc.plan import decode, encode


def branches(wiring: Wiring, settings: GatewaySettings) -> Branches:
    if wiring.proxy.startswith("bad-route-"):
        wiring = dataclasses.replace(wiring, authority="not\na host")
    return compile_branches(wiring, settings)


def plan(proxy: Proxy, wiring: Wiring, resources: Mapping[Key, Resource]) -> XdsResource:
    made = compile_plan(proxy, wiring, resources)
    if not wiring.proxy.startswith("bad-plan-"):
        return made
    body = encode(msgspec.structs.replace(decode(made.body), dialect="gibberish"))
    return XdsResource(PLAN, made.name, digest(body), body)


def flawed(module: Any = units) -> None:
    module.compile_branches, module.compile_plan = branches, plan


if __name__ == "__main__":
    flawed()
    main.main()
