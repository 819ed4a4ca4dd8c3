"""Small resources for the tests of the store."""

from __future__ import annotations

from control_plane.resources import Key, Resource, parse

KEY_A, KEY_B = Key("credentials", "a"), Key("credentials", "b")


def credential(name: str = "a", secret: str | None = "s3cret", **spec: object) -> Resource:
    known = {
        "type": "bearer",
        "allowedHosts": ["127.0.0.1"],
        **({} if secret is None else {"secret": secret}),
        **spec,
    }
    return _resource("Credential", name, known)


def upstream(name: str = "u", credential_name: str | None = None) -> Resource:
    spec = {"dialect": "openai", "url": "http://127.0.0.1:9000/v1"}
    return _resource(
        "Upstream", name, spec | ({"credential": credential_name} if credential_name else {})
    )


def secret_of(resource: Resource) -> str:
    return str(resource.to_document(reveal=True)["spec"]["secret"])


def _resource(kind: str, name: str, spec: object) -> Resource:
    return parse({"apiVersion": "naru/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
