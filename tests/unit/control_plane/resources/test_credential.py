"""`allowedHosts`: where a secret may go, and that there is no second way to write a host."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.resources import Credential, InvalidResource, Upstream, parse


def credential(*hosts: str, **spec: Any) -> Credential:
    held = {"type": "bearer", "secret": "canary-secret", "allowedHosts": list(hosts), **spec}
    metadata = {"name": "key"}
    found = parse({"apiVersion": "naru/v1", "kind": "Credential", "metadata": metadata,
                   "spec": held})  # fmt: skip
    assert isinstance(found, Credential)
    return found


def upstream(url: str) -> Upstream:
    spec = {"dialect": "openai", "url": url}
    found = parse({"apiVersion": "naru/v1", "kind": "Upstream", "metadata": {"name": "u"},
                   "spec": spec})  # fmt: skip
    assert isinstance(found, Upstream)
    return found


@pytest.mark.parametrize(
    ("host", "url", "may"),
    [
        ("api.openai.com", "https://api.openai.com/v1", True),
        ("api.openai.com", "https://API.OPENAI.COM/v1", True),
        ("API.openai.com", "https://api.openai.com/v1", True),
        ("api.openai.com", "https://api.openai.com./v1", True),
        ("api.openai.com", "https://api.openai.com:8443/v1", True),
        ("api.openai.com:443", "https://api.openai.com/v1", True),
        ("api.openai.com:443", "http://api.openai.com/v1", False),
        ("api.openai.com:443", "https://api.openai.com:8443/v1", False),
        ("api.openai.com", "https://openai.com/v1", False),
        ("openai.com", "https://api.openai.com/v1", False),
        ("api.openai.com", "https://api.openai.com.evil.example/v1", False),
        ("api.openai.com", "https://evil.example/api.openai.com", False),
        ("api.openai.com", "https://xn--pi-7kc.openai.com/v1", False),
        ("api.openai.com:443", "http://api.openai.com:443/v1", True),
        ("api.openai.com", "http://api.openai.com/v1", False),
        ("api.openai.com", "http://api.openai.com:443/v1", False),
        ("api.openai.com", "http://api.openai.com:8080/v1", False),
        ("api.openai.com:80", "http://api.openai.com/v1", True),
        ("api.openai.com:8080", "http://API.openai.com.:8080/v1", True),
        ("api.openai.com:8080", "https://api.openai.com:8080/v1", True),
        ("vllm", "http://vllm:8000/v1", False),
        ("vllm:8000", "http://vllm:8000/v1", True),
        ("8.8.8.8", "http://8.8.8.8/v1", False),
        ("8.8.8.8", "https://8.8.8.8/v1", True),
        ("8.8.8.8:80", "http://8.8.8.8/v1", True),
        ("2001:4860::8", "http://[2001:4860::8]/v1", False),
        ("[2001:4860::8]:80", "http://[2001:4860::8]/v1", True),
        ("localhost", "http://localhost:9000", True),
        ("localhost", "http://LOCALHOST.:9000", True),
        ("localhost.example", "http://localhost.example", False),
        ("a.localhost", "http://a.localhost", False),
        ("127.255.255.255", "http://127.255.255.255", True),
        ("10.255.0.1", "http://10.255.0.1:8000", True),
        ("11.0.0.1", "http://11.0.0.1:8000", False),
        ("172.15.0.1", "http://172.15.0.1", False),
        ("172.16.0.1", "http://172.16.0.1", True),
        ("172.31.255.1", "http://172.31.255.1", True),
        ("172.32.0.1", "http://172.32.0.1", False),
        ("192.168.0.1", "http://192.168.0.1", True),
        ("192.169.0.1", "http://192.169.0.1", False),
        ("100.64.0.1", "http://100.64.0.1", False),
        ("169.254.0.1", "http://169.254.0.1", False),
        ("fd12::1", "http://[fd12::1]", True),
        ("fe80::1", "http://[fe80::1]", False),
        ("::ffff:10.0.0.1", "http://[::ffff:10.0.0.1]", False),
        ("127.0.0.1", "http://127.0.0.1:9000", True),
        ("127.0.0.1:9000", "http://127.0.0.1:9001", False),
        ("127.0.0.1", "http://localhost:9000", False),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]:9000", False),
        ("::1", "http://[0:0::1]:9000", True),
        ("[::1]:9000", "http://[::1]:9000", True),
        ("[::1]:9000", "http://[::1]:9001", False),
        ("::1:9000", "http://[::1]:9000", False),
        ("::1:9000", "https://[::1:9000]", True),
    ],
)
def test_where_a_secret_may_go(host: str, url: str, may: bool) -> None:
    assert credential(host).spec.may_go_to(upstream(url).spec.address) == may


def test_without_hosts_it_goes_nowhere() -> None:
    assert not credential().spec.may_go_to(upstream("https://api.openai.com").spec.address)


@pytest.mark.parametrize(
    "host",
    ["", "*", "*.openai.com", "https://api.openai.com", "api.openai.com/v1", "u@api.openai.com",
     "api.openai.com%2f", "api.openai.com:0", "api.openai.com:99999", "api.openai.com:https",
     " api.openai.com", "api.openai.com\n", "api\0.openai.com", "аpi.openai.com", "ａpi.openai.com",
     "api.openai.com\u200b", "2130706433", "0x7f000001", "127.1", "[127.0.0.1]", "10.0.0.0/8"],
)  # fmt: skip
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        credential(host)
    assert [problem.field for problem in caught.value.problems] == ["spec.allowedHosts"]
    assert "canary-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com@evil.example/",
        "https://api.openai.com:x@evil.example/",
        "https://evil.example\\@api.openai.com/",
        "https://evil.example#@api.openai.com/",
        "https://evil.example?@api.openai.com/",
        "https://api%2eopenai.com/",
        "https://evil.example%00.api.openai.com/",
        "https://api.openai.com,evil.example/",
        "https://api.openai.com;evil.example/",
        "https://api.openai.com\t.evil.example/",
        "https://api.openai.com\n/",
        "https:///api.openai.com/",
        "https:api.openai.com",
        "//api.openai.com/",
        "https://[::1%25eth0]/",
        "https://[::1]x/",
        "https://[v1.a]/",
        "https://api.openai.com:+443/",
        "https://api.openai.com:４４３/",
        "https://аpi.openai.com/",
        "https://api。openai。com/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
    ],
)
def test_urls_that_two_parsers_could_read_in_two_ways(url: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        upstream(url)
    assert [problem.field for problem in caught.value.problems] == ["spec.url"]


@pytest.mark.parametrize(
    ("change", "further"),
    [
        ({}, False),
        ({"allowedHosts": []}, False),
        ({"allowedHosts": ["A.example."]}, False),
        ({"allowedHosts": ["b.example:80"]}, False),
        ({"allowedHosts": ["10.0.0.1:80", "localhost:80"]}, False),
        ({"allowedHosts": ["a.example:443"]}, True),  # over http, too
        ({"allowedHosts": ["b.example"]}, True),  # named with one port only before
        ({"allowedHosts": ["b.example:81"]}, True),
        ({"allowedHosts": ["a.example", "c.example"]}, True),
        ({"type": "header", "header": "x-key"}, True),
    ],
)
def test_how_far_a_secret_goes(change: dict[str, Any], further: bool) -> None:
    before = credential("a.example", "b.example:80", "10.0.0.1", "localhost")
    hosts = change.pop("allowedHosts", before.spec.allowedHosts)
    assert credential(*hosts, **change).spec.goes_no_further_than(before.spec) != further


@pytest.mark.parametrize(
    "header",
    ["x-request-id", "traceparent", "x-forwarded-for", "x-naru-plan", "host", ":authority",
     "X-Key", "x key", "x-kеy", "x-key\r\nx", "x-key\u200b", ""],
)  # fmt: skip
def test_headers_that_could_be_shown_or_mean_something_else(header: str) -> None:
    with pytest.raises(InvalidResource):
        credential("a.example", type="header", header=header)
