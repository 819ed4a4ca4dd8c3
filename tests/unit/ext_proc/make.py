"""Plans, requests and answers for the tests of ext_proc."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import GenericSecret, Secret
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse

from ext_proc.contract import ATTRIBUTES, CONTENT_TYPE, PATH, REQUEST_ID, ROUTE_NAME
from ext_proc.plan import CredentialPlan, Message, Plan, TemplatePlan, encode
from ext_proc.plans import PlanTable

CANARY = "zqx-canary-7391"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "dish": {"type": "string", "maxLength": 100},
        "mood": {"enum": ["warm", "cold"], "default": "warm"},
    },
    "required": ["dish"],
}
TEMPLATE = TemplatePlan(
    name="menu",
    messages=(
        Message(role="system", content="You write menus, {{ mood }}."),
        Message(role="user", content="Describe {{ dish }}."),
    ),
    variables=SCHEMA,
)
PLAN = Plan(
    name="menu#1a",
    proxy="menu",
    lane="request",
    why="a template",
    dialect="openai",
    model="gpt-x",
    template=TEMPLATE,
    params={"temperature": 0.7},
    allow_params=("max_tokens", "temperature"),
    credential=CredentialPlan(secret="menu-key", header="authorization"),
)
BARE = msgspec.structs.replace(PLAN, name="bare#1a", proxy="bare", template=None, credential=None)


def template(*sources: str, schema: dict[str, Any] | None = None) -> TemplatePlan:
    messages = tuple(Message(role="user", content=source) for source in sources)
    return TemplatePlan(name="t", messages=messages, variables=schema or {})


def secret(value: bytes = b"Bearer sk-123", name: str = "menu-key") -> bytes:
    generic = GenericSecret(secret=DataSource(inline_bytes=value))
    serialised: bytes = Secret(name=name, generic_secret=generic).SerializeToString()
    return serialised


def table(*plans: Plan) -> PlanTable:
    chosen = plans or (PLAN, BARE)
    compiled = PlanTable().with_plans({plan.name: encode(plan) for plan in chosen}, ())
    return compiled.with_secrets({"menu-key": secret()}, ())


def request(
    body: object,
    *,
    path: str = "/p/menu",
    route: str = "menu#1a",
    content_type: str | None = "application/json",
) -> ProcessingRequest:
    message = ProcessingRequest()
    message.request_body.body = body if isinstance(body, bytes) else json.dumps(body).encode()
    message.request_body.end_of_stream = True
    fields = message.attributes[ATTRIBUTES].fields
    fields[ROUTE_NAME].string_value = route
    fields[PATH].string_value = path
    fields[REQUEST_ID].string_value = "id-of-a-request"
    if content_type is not None:
        fields[CONTENT_TYPE].string_value = content_type
    return message


def only(responses: Sequence[ProcessingResponse]) -> ProcessingResponse:
    """The one answer."""
    (response,) = responses
    return response


def sent(response: ProcessingResponse) -> dict[str, Any]:
    """The body that goes to the upstream."""
    assert response.WhichOneof("response") == "request_body", response
    body: dict[str, Any] = json.loads(response.request_body.response.body_mutation.body)
    return body


def error(response: ProcessingResponse) -> tuple[int, str, str]:
    """Status, code and message of an immediate response."""
    assert response.WhichOneof("response") == "immediate_response", response
    answer = response.immediate_response
    detail = json.loads(answer.body)["error"]
    assert detail.keys() == {"message", "type", "param", "code", "request_id"}
    assert detail["request_id"] in ("id-of-a-request", "")  # none where Envoy sent no attributes
    return answer.status.code, detail["code"], detail["message"]
