"""`addresses`: what upstreams may point at, by default and with an operator's lists."""

from __future__ import annotations

import ipaddress

import pytest

from control_plane.resources import Upstream, parse
from control_plane.resources.addresses import AddressPolicy, Place, parse_rule
from control_plane.resources.upstream import Address, parse_url

OWN = AddressPolicy(
    own=(
        Place("127.0.0.1", 10000),
        Place("::1", 10001),
        Place("0.0.0.0", 10002),
        Place("10.0.0.5", 10003),
        Place("etcd-0", 2379),
    ),
    is_local=lambda host: host in ("10.0.0.5", "127.0.0.1"),
)


def at(url: str) -> Address:
    return parse_url(url)


def policy(allow: str = "", deny: str = "", own: tuple[Place, ...] = ()) -> AddressPolicy:
    allowed, denied = (tuple(map(parse_rule, text.split())) for text in (allow, deny))
    return AddressPolicy(own, allowed, denied)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.0.1",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[fe80::1]",
        "[febf::1]",
        "[ff02::1]",
        "[fd00:ec2::254]",
        "[FD00:0EC2:0:0:0:0:0:254]",
        "[fd20:ce::254]",
        "[::ffff:169.254.169.254]",
        "[::ffff:127.0.0.1]",
        "[::169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::1]",
        "[2002:a9fe:a9fe::1]",
        "[2001::1]",
        "metadata.google.internal",
        "METADATA.Google.Internal",
        "metadata.google.internal.",
        "metadata",
        "instance-data",
        "metadata.azure.internal",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_refused(host: str, scheme: str) -> None:
    assert AddressPolicy().denied(at(f"{scheme}://{host}/v1")), host
    assert AddressPolicy().denied(at(f"{scheme}://{host}:8080/v1")), host


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9000",
        "localhost:11434",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1:8000",
        "100.64.0.1",
        "[::1]:9000",
        "[fd12:3456::1]",
        "[2606:4700::1111]",
        "[64:ff9b::8.8.8.8]",
        "169.253.255.255",
        "169.255.0.0",
        "api.openai.com",
        "metadata.example.com",
        "models.internal:8080",
    ],
)
def test_allowed(host: str) -> None:
    assert AddressPolicy().denied(at(f"http://{host}/v1")) is None
    assert OWN.denied(at(f"http://{host}/v1")) is None


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1:10000", True),
        ("127.0.0.2:10000", True),
        ("[::1]:10000", True),
        ("localhost:10000", True),
        ("LocalHost.:10000", True),
        ("gateway.localhost:10000", True),
        ("ip6-localhost:10001", True),
        ("[0:0::1]:10001", True),
        ("[64:ff9b::127.0.0.1]:10000", True),
        ("127.0.0.1:10002", True),  # bound to every address
        ("10.0.0.5:10002", True),  # which this is one of
        ("10.0.0.6:10002", False),  # and this is not
        ("10.0.0.5:10003", True),
        ("127.0.0.1:10003", False),
        ("10.0.0.5:10000", False),
        ("etcd-0:2379", True),
        ("ETCD-0.:2379", True),
        ("etcd-0:2380", False),
        ("localhost:9000", False),
    ],
)
def test_the_gateways_own(host: str, own: bool) -> None:
    why = OWN.denied(at(f"http://{host}/v3/kv/put"))
    assert why == ("is the gateway's own" if own else None)


def test_the_port_of_a_url_without_one_counts() -> None:
    own = AddressPolicy(own=(Place("127.0.0.1", 80), Place("127.0.0.1", 443)))
    assert own.denied(at("http://localhost/"))
    assert own.denied(at("https://localhost/"))


@pytest.mark.parametrize(
    ("allow", "url", "allowed"),
    [
        ("169.254.169.254", "http://169.254.169.254:81", True),
        ("169.254.169.254:80", "http://169.254.169.254", True),
        ("169.254.169.254:80", "https://169.254.169.254", False),
        ("169.254.0.0/16", "http://169.254.169.254", True),
        ("fe80::/10 10.0.0.0/8", "http://[fe80::1]", True),
        ("169.254.0.0/16", "http://[::ffff:169.254.169.254]", False),
        ("169.254.0.0/16", "http://[64:ff9b::169.254.169.254]", True),
        ("metadata.google.internal", "http://Metadata.Google.internal.", True),
        ("127.0.0.1:10000", "http://127.0.0.1:10000", True),
        ("127.0.0.1:10000", "http://localhost:10000", False),  # which may also be ::1
        ("localhost:10000", "http://localhost:10000", True),
        ("localhost", "http://127.0.0.1:10000", False),
    ],
)
def test_the_operator_allows(allow: str, url: str, allowed: bool) -> None:
    chosen = policy(allow, own=(Place("127.0.0.1", 10000),))
    assert (chosen.denied(at(url)) is None) == allowed


@pytest.mark.parametrize(
    ("deny", "url", "denied"),
    [
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("evil.example", "http://EVIL.example.:8080", True),
        ("evil.example:80", "http://evil.example:8080", False),
        ("127.0.0.1", "http://localhost:9000", True),
        ("10.0.0.0/8", "http://[64:ff9b::10.1.2.3]", True),
        ("fd00::/8", "http://[fd12::1]", True),
    ],
)
def test_the_operator_refuses_more(deny: str, url: str, denied: bool) -> None:
    assert (policy(deny=deny).denied(at(url)) is not None) == denied


def test_allow_wins_over_deny() -> None:
    chosen = policy("10.1.2.3:9000", "10.0.0.0/8")
    assert chosen.denied(at("http://10.1.2.3:9000")) is None
    assert chosen.denied(at("http://10.1.2.3:9001"))


def test_the_problem_says_what_to_do() -> None:
    upstream = parse({
        "apiVersion": "naru/v1", "kind": "Upstream", "metadata": {"name": "imds"},
        "spec": {"dialect": "openai", "url": "http://[fe80::1]/v1"},
    })  # fmt: skip
    assert isinstance(upstream, Upstream)
    problem = AddressPolicy().problem(upstream)
    assert problem is not None
    assert problem.field == "spec.url"
    assert "[fe80::1]:80 is link-local" in problem.message
    assert "[fe80::1]:80 in NARU_UPSTREAM_ALLOW" in problem.mend
    rule = problem.mend.partition("names ")[2].partition(" in")[0]
    assert policy(rule).problem(upstream) is None


class TestAnswers:
    """What a name may resolve to, for Envoy."""

    def refuses(self, chosen: AddressPolicy, answer: str, port: int = 443) -> bool:
        address = ipaddress.ip_address(answer)
        refused = any(address in network for network in chosen.refused_answers(port))
        return refused and not any(address in n for n in chosen.allowed_answers(port))

    @pytest.mark.parametrize(
        "answer",
        ["169.254.169.254", "100.100.100.200", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::",
         "fe80::1", "ff02::1", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
         "2002:a9fe:a9fe::1", "2001::1"],
    )  # fmt: skip
    def test_are_held_to_the_same_rule(self, answer: str) -> None:
        assert self.refuses(AddressPolicy(), answer)

    @pytest.mark.parametrize(
        "answer", ["127.0.0.1", "::1", "10.0.0.1", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808"]
    )
    def test_others_are_fine(self, answer: str) -> None:
        assert not self.refuses(AddressPolicy(), answer)

    def test_the_gateways_own_at_their_ports(self) -> None:
        assert self.refuses(OWN, "127.0.0.1", 10000)
        assert self.refuses(OWN, "::1", 10002)
        assert self.refuses(OWN, "10.0.0.5", 10003)
        assert not self.refuses(OWN, "127.0.0.1", 443)
        assert not self.refuses(OWN, "127.0.0.1", 10003)

    def test_the_operators_lists(self) -> None:
        chosen = policy("169.254.169.254:80", "10.0.0.0/8 127.0.0.1:9000 a.example")
        assert not self.refuses(chosen, "169.254.169.254", 80)
        assert self.refuses(chosen, "169.254.169.254", 81)
        assert self.refuses(chosen, "10.1.1.1")
        assert self.refuses(chosen, "127.0.0.1", 9000)
        assert not self.refuses(chosen, "127.0.0.1", 9001)

    def test_a_name_that_is_allowed_is_free(self) -> None:
        assert policy("a.example:80").exempts(at("http://A.example"))
        assert not policy("a.example:80").exempts(at("https://a.example"))

    def test_are_the_same_on_every_machine(self) -> None:
        here = AddressPolicy(OWN.own, is_local=lambda host: True)
        there = AddressPolicy(OWN.own, is_local=lambda host: False)
        assert here.refused_answers(10002) == there.refused_answers(10002)
