"""schemathesis asks the real API what its own description allows, and what it does not.

Every operation of `/openapi.json`, with valid and with broken requests, on the real process with a
real etcd; what is answered must be described. What the description cannot say (that a name must
exist, that a prompt must be a template) is not held against the API: `positive_data_acceptance` is
left out. https://schemathesis.readthedocs.io/
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from tests.support.control_plane import ControlPlaneProcess

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method,"
    "ignored_auth"
)
SECONDS = 90
TOUR = """
{apiVersion: naru/v1, kind: Credential, metadata: {name: key},
 spec: {type: bearer, secret: one, allowedHosts: ["127.0.0.1"]}}
---
{apiVersion: naru/v1, kind: Upstream, metadata: {name: up},
 spec: {dialect: openai, url: "http://127.0.0.1:9000/v1", credential: key}}
"""


def test_the_api_is_what_it_says(
    running: ControlPlaneProcess, http: httpx.Client, tmp_path: Path
) -> None:
    kind = {"content-type": "application/yaml"}
    assert http.post("/api/v1/apply", content=TOUR, headers=kind).status_code == 200
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"http://{running.api}/openapi.json",
        "--checks", CHECKS, "--max-examples", "40", "--generation-deterministic",
        "--header", f"Authorization: {http.headers['authorization']}",
        "--request-timeout", "5", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert running.process is not None
    assert running.process.poll() is None, running.log()[-2000:]
    assert "Traceback" not in running.log()
