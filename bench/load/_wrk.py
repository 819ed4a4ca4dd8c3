"""`wrk`, with a script that sends one fixed request and prints its findings as JSON.

One thread: it takes a tenth of a core at the most that a gateway on two cores can answer.
https://github.com/wg/wrk/blob/master/SCRIPTING
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from bench.contestants import Request
from bench.load._model import Load

_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests": %d, "us": %d, "p50": %f, "p99": %f, "max": %f, '
    .. '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, e.connect, e.read, e.write, e.status, e.timeout))
end
"""
_ERRORS = ("connect", "read", "write", "status", "timeout")


def find_wrk() -> str | None:
    """Its path, if it is installed."""
    return shutil.which("wrk")


def wrk(request: Request, connections: int, seconds: float) -> Load:
    """One run. Whole seconds only; that is all that wrk takes."""
    with tempfile.TemporaryDirectory(prefix="naru-wrk-") as directory:
        path = Path(directory) / "request.lua"
        path.write_text(script(request))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
        command += ["--timeout", "30s", "-s", str(path), request.url]
        before = _children()
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + 60, start_new_session=True
        )
        used = _children() - before
    if done.returncode or "RESULT " not in done.stdout:
        raise RuntimeError(f"wrk failed: {done.stderr or done.stdout}")
    return _load(json.loads(done.stdout.partition("RESULT ")[2]), used)


def script(request: Request) -> str:
    """The Lua that makes wrk send this request."""
    headers = {"content-type": "application/json", **request.headers}
    lines = [f"wrk.headers[{_lua(name)}] = {_lua(value)}" for name, value in headers.items()]
    path = urlsplit(request.url).path
    body = _lua(request.body.decode())
    return "\n".join(
        ['wrk.method = "POST"', *lines, f"wrk.path = {_lua(path)}", f"wrk.body = {body}", _DONE]
    )


def _lua(text: str) -> str:
    """A Lua string; every byte that could mean something is written as a number."""
    plain = "".join(chr(byte) if _plain(byte) else f"\\{byte:03d}" for byte in text.encode())
    return f'"{plain}"'


def _plain(byte: int) -> bool:
    return 0x20 <= byte < 0x7F and chr(byte) not in '"\\'


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _load(found: dict[str, float], cpu: float) -> Load:
    return Load(
        tool="wrk",
        requests=int(found["requests"]),
        seconds=found["us"] / 1e6,
        errors={kind: int(found[kind]) for kind in _ERRORS if found[kind]},
        p50_ms=found["p50"] / 1000,
        p99_ms=found["p99"] / 1000,
        max_ms=found["max"] / 1000,
        cpu_seconds=cpu,
    )
