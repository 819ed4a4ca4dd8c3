"""`_preconditions`: headers and `metadata.revision` → what must hold."""

from __future__ import annotations

import pytest

from control_plane.api._preconditions import Precondition, of_document, of_headers
from control_plane.api.errors import BadRequest, VersionConflict
from control_plane.resources import Key, parse
from control_plane.store import Stored
from tests.support.api import upstream

KEY = Key("upstreams", "openai")
AT_7 = Stored(parse(upstream()), 3, 7)


@pytest.mark.parametrize(
    ("precondition", "stored"),
    [
        (of_headers(None, None), AT_7),
        (of_headers(None, None), None),
        (of_headers("*", None), AT_7),
        (of_headers('"7"', None), AT_7),
        (of_headers('"3" , "7"', None), AT_7),
        (of_headers(None, "*"), None),
        (of_document(None), AT_7),
        (of_document(7), AT_7),
        (of_document(0), None),
    ],
)
def test_what_holds(precondition: Precondition, stored: Stored | None) -> None:
    precondition.check(KEY, stored)


@pytest.mark.parametrize(
    ("precondition", "stored", "says"),
    [
        (
            of_headers('"6"', None),
            AT_7,
            "is at revision 7, but the request says that it is at revision 6",
        ),
        (of_headers('"6"', None), None, "does not exist"),
        (of_headers('W/"7"', None), AT_7, "is at revision 7"),
        (of_headers("*", None), None, "does not exist, but the request says that it exists"),
        (
            of_headers(None, "*"),
            AT_7,
            "is at revision 7, but the request says that it does not exist",
        ),
        (of_document(6), AT_7, "is at revision 7"),
        (of_document(0), AT_7, "is at revision 7"),
    ],
)
def test_what_does_not(precondition: Precondition, stored: Stored | None, says: str) -> None:
    with pytest.raises(VersionConflict) as caught:
        precondition.check(KEY, stored)
    assert says in caught.value.message
    assert caught.value.headers == ({"etag": '"7"'} if stored else {})


@pytest.mark.parametrize(
    ("if_match", "if_none_match"),
    [("7", None), ('"7', None), ('"x"', None), ("", None), ('"7",', None), ('"٧"', None),
     (None, '"7"'), ("*", "*")],
)  # fmt: skip
def test_what_cannot_be_read(if_match: str | None, if_none_match: str | None) -> None:
    with pytest.raises(BadRequest):
        of_headers(if_match, if_none_match)
