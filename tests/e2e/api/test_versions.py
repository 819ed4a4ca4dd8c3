"""Versions and expiry of credentials on a running control plane."""

from __future__ import annotations

import httpx
from click.testing import CliRunner

from naru.cli import main
from tests.support.api import credential
from tests.support.control_plane import ControlPlaneProcess

PATH = "/api/v1/credentials/key"


def test_a_secret_is_put_back_and_never_shown(
    http: httpx.Client, running: ControlPlaneProcess
) -> None:
    answers = [
        http.put(PATH, json=credential(secret="sk-version-one")),
        http.put(PATH, json=credential(secret="sk-version-two")),
        http.get(f"{PATH}/versions"),
        http.post(f"{PATH}/rollback"),
        http.get(f"{PATH}/versions"),
        http.post(f"{PATH}/rollback?version=2"),
        http.post(f"{PATH}/rollback?version=9"),
    ]
    assert [each.status_code for each in answers] == [201, 200, 200, 200, 200, 200, 404]
    items = answers[4].json()["items"]
    assert [(i["number"], i["source"], i["present"]) for i in items] == [
        (3, 1, True), (2, None, False), (1, None, False),
    ]  # fmt: skip
    assert {item["by"] for item in items} == {"admin-token"}
    text = "".join(each.text for each in answers) + running.log()
    assert "sk-version" not in text
    assert "sealed" not in text


def test_a_secret_comes_back_for_the_hosts_that_it_was_meant_for(http: httpx.Client) -> None:
    http.put(PATH, json=credential(secret="one", allowedHosts=["api.openai.com"]))
    http.put(PATH, json=credential(secret="junk", allowedHosts=["evil.example"]))
    answer = http.post(f"{PATH}/rollback")
    assert answer.status_code == 200, answer.text
    assert answer.json()["spec"]["allowedHosts"] == ["api.openai.com"]


def test_versions_go_with_the_credential(http: httpx.Client) -> None:
    assert http.get(f"{PATH}/versions").status_code == 404
    http.put(PATH, json=credential(secret="one"))
    assert http.delete(PATH).status_code == 200
    http.put(PATH, json=credential(secret="two"))
    assert [item["number"] for item in http.get(f"{PATH}/versions").json()["items"]] == [1]


def test_a_credential_that_ends_is_told_of_everywhere(http: httpx.Client) -> None:
    http.put(PATH, json=credential(expiresAt="2020-01-01T00:00:00Z"))
    (found,) = http.get("/api/v1/status").json()["expiring"]
    assert found == {
        "kind": "Credential",
        "name": "key",
        "expires_at": "2020-01-01T00:00:00Z",
        "expired": True,
    }
    assert "naru_credentials_expired 1.0" in http.get("/metrics").text
    http.put(PATH, json=credential())
    assert http.get("/api/v1/status").json()["expiring"] == []


def test_the_commands_list_versions_and_put_one_back(
    http: httpx.Client, running: ControlPlaneProcess
) -> None:
    for secret in ("sk-version-one", "sk-version-two"):
        http.put(PATH, json=credential(secret=secret))
    token = running.token_file.read_text().strip()
    place = ("--api-url", f"http://{running.api}", "--token", token, "credentials")
    said = [
        CliRunner().invoke(main, [*place, *command]).output
        for command in (("versions", "key"), ("rollback", "key", "--to", "1"), ("versions", "key"))
    ]
    assert [line.split()[:2] for line in said[0].splitlines()[1:]] == [
        ["2", "present"], ["1", "kept"],
    ]  # fmt: skip
    assert said[1].startswith("key is back, at revision ")
    assert said[2].splitlines()[1].endswith("version 1")
    assert "sk-version" not in "".join(said)
