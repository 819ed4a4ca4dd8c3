from __future__ import annotations

import logging
from typing import Any

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
)
from google.protobuf.json_format import MessageToDict
from msgspec.structs import replace

from ext_proc.contract import REQUEST_ATTRIBUTES
from ext_proc.plan import encode
from ext_proc.plans import CompiledPlan, PlanTable
from ext_proc.stream import RequestStream
from tests.unit.ext_proc.make import CANARY, PLAN, error, only, request, sent, table

GOOD = {"variables": {"dish": "kimchi"}}


def test_one_message_one_answer() -> None:
    current = table()
    stream = RequestStream(current)
    assert not stream.done
    response = only(stream.receive(request(GOOD)))
    assert stream.done
    assert sent(response)["messages"][1]["content"] == "Describe kimchi."
    assert MessageToDict(response.dynamic_metadata) == {
        "naru": {
            "plan": "menu#1a",
            "version": current.plans["menu#1a"].version,
            "credential": "Bearer sk-123",
        }
    }


def test_the_answer_sets_no_headers() -> None:
    """They would be lost: with request headers skipped, they have gone on already."""
    response = only(RequestStream(table()).receive(request(GOOD)))
    common = response.request_body.response
    assert not common.HasField("header_mutation")
    assert not common.clear_route_cache
    assert common.status == common.CONTINUE


def test_without_a_credential_none_is_in_the_metadata() -> None:
    message = request({"messages": []}, path="/v1/chat/completions", route="bare#1a")
    response = only(RequestStream(table()).receive(message))
    assert "credential" not in MessageToDict(response.dynamic_metadata)["naru"]


def test_a_stream_keeps_the_table_that_it_began_with() -> None:
    old = table()
    stream = RequestStream(old)
    old.with_plans({PLAN.name: encode(replace(PLAN, model="new"))}, ())
    assert sent(only(stream.receive(request(GOOD))))["model"] == "gpt-x"


def test_a_second_message_gets_no_second_answer() -> None:
    stream = RequestStream(table())
    assert only(stream.receive(request(GOOD)))
    assert stream.receive(request(GOOD)) == ()
    assert stream.receive(ProcessingRequest(request_trailers=HttpTrailers())) == ()
    assert stream.done


@pytest.mark.parametrize(
    "message",
    [
        ProcessingRequest(),
        ProcessingRequest(request_headers=HttpHeaders(end_of_stream=True)),
        ProcessingRequest(request_headers=HttpHeaders()),
        ProcessingRequest(request_trailers=HttpTrailers()),
        ProcessingRequest(response_body=HttpBody(body=b"{}", end_of_stream=True)),
        ProcessingRequest(response_trailers=HttpTrailers()),
    ],
)
def test_what_is_not_expected_fails_closed(message: ProcessingRequest) -> None:
    good = request(GOOD)
    message = ProcessingRequest.FromString(message.SerializeToString())
    message.attributes["envoy.filters.http.ext_proc"].CopyFrom(
        good.attributes["envoy.filters.http.ext_proc"]
    )
    stream = RequestStream(table())
    assert error(only(stream.receive(message)))[:2] == (500, "gateway_error")
    assert stream.receive(good) == ()


@pytest.mark.parametrize("route", ["", "menu", "menu#2b"])
def test_an_unknown_plan(route: str) -> None:
    answer = RequestStream(table()).receive(request(GOOD, route=route))
    assert error(only(answer))[:2] == (503, "plan_unavailable")


def test_a_body_before_trailers_is_whole_too() -> None:
    message = request(GOOD)
    message.request_body.end_of_stream = False
    assert sent(only(RequestStream(table()).receive(message)))["model"] == "gpt-x"


def test_no_attributes_at_all() -> None:
    message = ProcessingRequest(request_body=HttpBody(body=b"{}", end_of_stream=True))
    assert error(only(RequestStream(table()).receive(message)))[:2] == (503, "plan_unavailable")


def test_a_secret_that_has_not_arrived() -> None:
    missing = table().with_secrets({}, ["menu-key"])
    answer = RequestStream(missing).receive(request(GOOD))
    assert error(only(answer))[:2] == (503, "credential_unavailable")


def test_errors_are_json_for_the_caller_and_the_access_log() -> None:
    response = only(RequestStream(table()).receive(request(b"no json", content_type=None)))
    assert error(response)[:2] == (400, "invalid_json")
    immediate = response.immediate_response
    (header,) = immediate.headers.set_headers
    assert (header.header.key, header.header.raw_value) == ("content-type", b"application/json")
    assert immediate.details == "naru_invalid_json"
    assert not response.HasField("dynamic_metadata")


def test_our_own_fault_is_logged_without_content(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_plan: CompiledPlan, _request: Any) -> bytes:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(CompiledPlan, "rewrite", fail)
    with caplog.at_level(logging.DEBUG):
        answer = RequestStream(table()).receive(request({CANARY: 1}))
    assert error(only(answer))[:2] == (500, "internal_error")
    assert "RuntimeError in fail" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize("body", [{CANARY: 1}, CANARY.encode(), {"variables": {"dish": [CANARY]}}])
def test_errors_and_logs_never_hold_what_the_caller_sent(
    caplog: pytest.LogCaptureFixture, body: object
) -> None:
    with caplog.at_level(logging.DEBUG):
        (response,) = RequestStream(table()).receive(
            request(body, path=f"/p/menu?{CANARY}", content_type=f"application/json;x={CANARY}")
        )
    assert response.HasField("immediate_response")
    assert CANARY.encode() not in response.SerializeToString()
    assert CANARY not in caplog.text


def test_an_empty_table_serves_nothing() -> None:
    assert error(only(RequestStream(PlanTable()).receive(request(GOOD))))[0] == 503


def test_the_attributes_that_envoy_is_to_send() -> None:
    assert set(request({}).attributes["envoy.filters.http.ext_proc"].fields) == set(
        REQUEST_ATTRIBUTES
    )
