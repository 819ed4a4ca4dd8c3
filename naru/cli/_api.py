"""The control plane's REST API, as the commands need it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from naru._http import loopback_mounts
from naru._problems import describe_answer
from naru.cli._context import Target
from naru.cli._errors import Refused, Unreachable

_PAGE = 500
_PATIENCE = 30.0
_LONG = 600.0
_UNAUTHORIZED = 401
Document = dict[str, Any]


class Api:
    """A connection to one control plane.

    Every method raises `Refused` with the control plane's words, or `Unreachable`.
    """

    def __init__(self, target: Target, transport: httpx.BaseTransport | None = None) -> None:
        self._url = target.url
        try:
            self._http = httpx.Client(
                base_url=f"{target.url}/api/v1",
                headers={"authorization": f"Bearer {target.token}"},
                timeout=_PATIENCE,
                mounts=loopback_mounts(),
                transport=transport,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise Unreachable(f"{target.url!r} cannot be used as a URL: {error}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._http.close()

    def list(self, plural: str) -> Iterator[Document]:
        """Every resource of a kind, page by page."""
        more: str | None = None
        while True:
            params = {"limit": str(_PAGE)} | ({"continue": more} if more else {})
            page = self._json("GET", f"/{plural}", params=params)
            yield from page["items"]
            more = page.get("continue")
            if not more:
                return

    def get(self, plural: str, name: str) -> Document:
        return self._json("GET", f"/{plural}/{name}")

    def delete(self, plural: str, name: str, message: str | None = None) -> None:
        self._call("DELETE", f"/{plural}/{name}", params=_why(message))

    def whoami(self) -> Document:
        return self._json("GET", "/whoami")

    def tokens(self) -> Iterator[Document]:
        yield from self._json("GET", "/tokens")["items"]

    def create_token(self, asked: Document, message: str | None) -> Document:
        return _object(self._call("POST", "/tokens", json=asked, params=_why(message)))

    def revoke_token(self, token_id: str, message: str | None) -> None:
        self._call("DELETE", f"/tokens/{token_id}", params=_why(message))

    def audit(self, params: Mapping[str, str]) -> Iterator[Document]:
        """Entries of the audit trail, page by page."""
        more: str | None = None
        while True:
            asked = {"limit": str(_PAGE), **params} | ({"continue": more} if more else {})
            page = self._json("GET", "/audit", params=asked)
            yield from page["items"]
            more = page.get("continue")
            if not more:
                return

    def verify_audit(self) -> Document:
        return _object(self._call("GET", "/audit/verification", timeout=_LONG))

    def status(self) -> Document:
        return self._json("GET", "/status")

    def apply(
        self, documents: str, *, dry_run: bool, wait: str | None, message: str | None = None
    ) -> tuple[int, Document]:
        """Apply YAML documents; the HTTP status (202: not live yet) and the answer."""
        params = {"dry_run": "true"} if dry_run else {}
        params |= ({"wait": wait} if wait else {}) | _why(message)
        answer = self._call(
            "POST",
            "/apply",
            params=params,
            content=documents.encode(),
            headers={"content-type": "application/yaml"},
            timeout=_PATIENCE + (seconds(wait) if wait else 0.0),
        )
        return answer.status_code, _object(answer)

    def _json(self, method: str, path: str, params: Mapping[str, str] | None = None) -> Document:
        return _object(self._call(method, path, params=params))

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise Unreachable(
                f"The control plane at {self._url} does not answer: {why}. Is it running? Start "
                "`naru up`, or set NARU_API_URL (and NARU_TOKEN) to one that runs."
            ) from error
        if answer.status_code == _UNAUTHORIZED:
            raise Refused(
                f"The control plane at {self._url} does not know this token, or it is expired or "
                "revoked: set NARU_TOKEN to another."
            )
        if answer.is_error:
            raise Refused(describe_answer(answer.status_code, answer.content))
        return answer


def seconds(duration: str) -> float:
    """`5s`, `500ms` or `1m` in seconds.

    Raises:
        ValueError: it is not a duration.
    """
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
        number = duration.removesuffix(unit)
        if number != duration and number.replace(".", "", 1).isdecimal():
            return float(number) * factor
    raise ValueError(f"{duration!r} is not a duration; write 5s, 500ms or 1m")


def _why(message: str | None) -> dict[str, str]:
    return {"message": message} if message else {}


def _object(answer: httpx.Response) -> Document:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unreachable("What answers there is not a control plane of Naru.")
    return found
