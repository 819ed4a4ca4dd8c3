import json

from menu_writer import build_app


def test_the_document_stands_alone() -> None:
    document = build_app("1.2.3").openapi()
    assert document["info"]["version"] == "1.2.3"
    assert "$defs" not in json.dumps(document)
    chat = document["paths"]["/v1/chat/completions"]["post"]
    schema = chat["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["messages"]
    assert {"400", "401", "404", "413", "422", "500", "503"} <= set(chat["responses"])
