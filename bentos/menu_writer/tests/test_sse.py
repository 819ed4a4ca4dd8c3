import json

from menu_writer import sse


def test_an_event_is_one_line_whatever_the_text_holds() -> None:
    document = {"text": "a\nb\r\n\n한\u2028글"}
    event = sse.encode(document)
    assert event.startswith(b"data: ") and event.endswith(b"\n\n")
    assert event.count(b"\n") == 2 and b"\r" not in event
    assert json.loads(event[len(b"data: ") :]) == document


def test_hangul_is_sent_as_utf8() -> None:
    assert "한글".encode() in sse.encode({"text": "한글"})
