from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.dialect import DIALECTS, Request
from ext_proc.errors import (
    CompressedBody,
    InvalidJson,
    InvalidRequest,
    MissingVariable,
    ParamNotAllowed,
    ProcError,
    TemplateRequired,
    UnsupportedEndpoint,
    UnsupportedMediaType,
)
from tests.unit.ext_proc.make import BARE, CANARY, PLAN, table

TABLE = table()
MENU = TABLE.plans[PLAN.name].proxy
NO_TEMPLATE = TABLE.plans[BARE.name].proxy
CHAT = "/v1/chat/completions"
SYSTEM = {"role": "system", "content": "You write menus, warm."}
PROMPT = {"role": "user", "content": "Describe kimchi."}
HELLO = {"role": "user", "content": "hello"}
VARIABLES = {"dish": "kimchi"}


def rewrite(
    body: object,
    path: str = "/p/menu",
    content_type: str | None = "application/json",
    proxy: Any = MENU,
) -> dict[str, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer: dict[str, Any] = json.loads(
        DIALECTS["openai"](proxy, Request(path=path, content_type=content_type, body=raw))
    )
    return answer


@pytest.mark.parametrize("path", ["/p/menu", "/p/menu?x=/v1/models", "/p/menu?"])
def test_the_simplified_request(path: str) -> None:
    body = {"variables": VARIABLES, "params": {"max_tokens": 5}, "stream": True}
    assert rewrite(body, path) == {
        "model": "gpt-x",
        "messages": [SYSTEM, PROMPT],
        "temperature": 0.7,
        "max_tokens": 5,
        "stream": True,
    }


@pytest.mark.parametrize(
    "path", ["/p/menu" + CHAT, CHAT, CHAT + "?api-version=/p/menu", CHAT + "#x"]
)
def test_the_sdks_request(path: str) -> None:
    body = {
        "model": "menu",
        "messages": [HELLO],
        "variables": VARIABLES,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert rewrite(body, path) == {
        "model": "gpt-x",
        "messages": [SYSTEM, PROMPT, HELLO],
        "temperature": 0.7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("messages", [{}, {"messages": []}])
def test_the_callers_messages_may_be_absent(messages: dict[str, Any]) -> None:
    body = {"model": "menu", "variables": VARIABLES, **messages}
    assert rewrite(body, CHAT)["messages"] == [SYSTEM, PROMPT]


def test_the_requests_params_win() -> None:
    run = rewrite({"variables": VARIABLES, "params": {"temperature": 0}})
    sdk = rewrite({"variables": VARIABLES, "temperature": 0}, CHAT)
    assert run["temperature"] == sdk["temperature"] == 0


def test_the_last_of_duplicate_keys_wins() -> None:
    body = b'{"variables": {"dish": "a"}, "variables": {"dish": "kimchi"}}'
    assert rewrite(body)["messages"][1] == PROMPT


def test_without_a_template_the_caller_writes_the_messages() -> None:
    body = {"messages": [HELLO], "max_tokens": 3, "variables": {}}
    assert rewrite(body, "/p/bare" + CHAT, proxy=NO_TEMPLATE) == {
        "model": "gpt-x",
        "messages": [HELLO],
        "temperature": 0.7,
        "max_tokens": 3,
    }


def test_without_a_template_completions_take_a_prompt() -> None:
    answer = rewrite({"prompt": "x"}, "/p/bare/v1/completions", proxy=NO_TEMPLATE)
    assert answer == {"model": "gpt-x", "prompt": "x", "temperature": 0.7}
    with pytest.raises(ParamNotAllowed):
        rewrite({"prompt": "x", "n": 2}, "/v1/completions", proxy=NO_TEMPLATE)


def test_on_other_endpoints_only_the_model_is_set() -> None:
    answer = rewrite({"input": "x", "max_tokens": 3}, "/v1/embeddings", proxy=NO_TEMPLATE)
    assert answer == {"model": "gpt-x", "input": "x", "max_tokens": 3}


@pytest.mark.parametrize("endpoint", ["embeddings", "responses", "CHAT/completions"])
def test_on_other_endpoints_params_are_checked_too(endpoint: str) -> None:
    with pytest.raises(ParamNotAllowed):
        rewrite({"input": "x", "n": 100}, f"/v1/{endpoint}", proxy=NO_TEMPLATE)


@pytest.mark.parametrize("suffix", ["/", ";a=1", "%3fx", "%20", "//x"])
def test_an_endpoint_is_written_in_one_way(suffix: str) -> None:
    with pytest.raises(UnsupportedEndpoint):
        rewrite({"messages": []}, f"/p/bare/v1/chat/completions{suffix}", proxy=NO_TEMPLATE)


JSON_TYPE = "application/json"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("path", "content_type", "right"),
    [
        ("/p/menu", JSON_TYPE, True),
        ("/p/menu", "application/json; charset=utf-8", True),
        ("/p/menu", "Application/JSON ;charset=UTF-8", True),
        ("/p/menu", FORM, True),
        ("/p/menu", None, True),
        ("/p/menu", "text/plain", False),
        ("/p/menu", "application/jsonx", False),
        (CHAT, JSON_TYPE, True),
        (CHAT, "application/json;charset=utf-8", True),
        (CHAT, FORM, False),
        (CHAT, None, False),
        (CHAT, "multipart/form-data; boundary=application/json", False),
    ],
)
def test_content_types(path: str, content_type: str | None, right: bool) -> None:
    if right:
        assert rewrite({"variables": VARIABLES}, path, content_type)["model"] == "gpt-x"
        return
    with pytest.raises(UnsupportedMediaType):
        rewrite({"variables": VARIABLES}, path, content_type)


def deep(levels: int) -> bytes:
    return (
        b'{"variables": {"dish": "x"}, "messages": [{"a": ' + b"[" * levels + b"]" * levels + b"}]}"
    )


@pytest.mark.parametrize("path", ["/p/menu", CHAT])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", InvalidJson),
        (b" ", InvalidJson),
        (b"{", InvalidJson),
        (b"dish=kimchi", InvalidJson),
        (b"[]", InvalidJson),
        (b"null", InvalidJson),
        (b'"text"', InvalidJson),
        (b'{"variables": {"dish": "\xff"}}', InvalidJson),
        (b'{"variables": {"dish": "\\ud800"}}', InvalidJson),
        (b'{"variables": {"dish": NaN}}', InvalidJson),
        (b"\xef\xbb\xbf{}", InvalidJson),
        (b"[" * 100_000, InvalidJson),
        (deep(2000), InvalidJson),
        (b"\x1f\x8b\x08\x00rest", CompressedBody),
        (b"\x28\xb5\x2f\xfdrest", CompressedBody),
        (b'{"variables": []}', InvalidRequest),
        (b'{"variables": null}', InvalidRequest),
        (b'{"variables": {"dish": "x"}, "stream": "yes"}', InvalidRequest),
        (b'{"variables": {"dish": "x"}, "stream": 1}', InvalidRequest),
        (b"{}", MissingVariable),
    ],
)
def test_bad_bodies(path: str, body: bytes, kind: type[ProcError]) -> None:
    with pytest.raises(kind):
        rewrite(body, path)


def test_what_can_be_read_but_not_written_is_too_deep() -> None:
    with pytest.raises(InvalidJson, match="nested too deeply"):
        rewrite(deep(500), CHAT)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": "x"},
        {"messages": None},
        {"messages": ["x"]},
        {"model": 3},
    ],
)
def test_wrong_types_on_the_sdks_request(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        rewrite({"variables": VARIABLES, **body}, CHAT)
    assert caught.value.param in body


def test_the_simplified_request_takes_three_fields() -> None:
    with pytest.raises(InvalidRequest, match="variables, params and stream"):
        rewrite({"variables": VARIABLES, "messages": []})
    with pytest.raises(InvalidRequest, match="params must be an object"):
        rewrite({"variables": VARIABLES, "params": []})


@pytest.mark.parametrize("name", ["n", "messages", "model", "stream", "variables"])
def test_params_that_are_not_allowed(name: str) -> None:
    with pytest.raises(ParamNotAllowed, match=r"only max_tokens, temperature\.") as caught:
        rewrite({"variables": VARIABLES, "params": {name: 1}})
    assert caught.value.param is None


def test_a_param_beside_the_sdks_fields_is_not_allowed() -> None:
    with pytest.raises(ParamNotAllowed):
        rewrite({"variables": VARIABLES, "n": 2}, CHAT)


@pytest.mark.parametrize(
    "path",
    [
        "/p/menu/v1/completions",
        "/v1/embeddings",
        "/v1/messages?x=/v1/chat/completions",
        "/p/menu/",
        "/p/menux",
        "/p/menu/v1/",
        "/p/menu/v1",
        "/v1/chat/completions/",
        "/p/other" + CHAT,
        "",
    ],
)
def test_other_endpoints_are_not_found_and_the_right_one_is_named(path: str) -> None:
    with pytest.raises(UnsupportedEndpoint, match="POST /p/menu or POST /p/menu/v1/chat/comp"):
        rewrite({"variables": VARIABLES}, path)


def test_without_a_template_the_simplified_request_names_the_right_endpoint() -> None:
    with pytest.raises(TemplateRequired, match="POST /p/bare/v1/chat/completions"):
        rewrite({}, "/p/bare", proxy=NO_TEMPLATE)
    with pytest.raises(TemplateRequired, match="no variables"):
        rewrite({"variables": VARIABLES}, CHAT, proxy=NO_TEMPLATE)


FIELDS = st.sampled_from(
    ["variables", "params", "stream", "messages", "model", "dish", "mood", "max_tokens", CANARY]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.just(CANARY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(FIELDS, JSON, max_size=5).map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=30).map(lambda value: value + CANARY.encode()),
    st.sampled_from(["/p/menu", "/v1/chat/completions", "/v1/x"]).map(
        lambda path: path + "?" + CANARY
    ),
    st.sampled_from([MENU, NO_TEMPLATE]),
)
def test_any_body_is_rewritten_or_refused_without_the_callers_text(
    body: bytes, path: str, proxy: Any
) -> None:
    error = None
    try:
        rewrite(body, path, proxy=proxy)
    except ProcError as caught:
        error = caught
    if error is not None:
        assert 400 <= error.status < 500
        assert CANARY.encode() not in error.body("")


@pytest.mark.parametrize(
    "inner",
    [b"[]," * 600_000, b"{}," * 600_000, b"1," * 4_100_000],
    ids=["lists", "objects", "numbers"],
)
def test_a_body_that_would_hold_up_everybody_is_not_read(inner: bytes) -> None:
    body = b'{"user": [' + inner + b"0]}"
    with pytest.raises(InvalidRequest, match="too many values"):
        rewrite(body, CHAT, proxy=NO_TEMPLATE)


def test_a_picture_is_one_value() -> None:
    body = b'{"input": "' + b"A" * (20 << 20) + b'"}'
    assert rewrite(body, "/v1/embeddings", proxy=NO_TEMPLATE)
