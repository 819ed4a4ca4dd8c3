"""The two request bodies: OpenAI's chat completion and completion, as far as this model can serve them.

What a caller must know about a field that is refused is in `REFUSED`. Fields that change nothing here
(`user`, `metadata`, …) are accepted and ignored, as every OpenAI client may send them.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import InvalidJson, InvalidRequest, UnknownModel
from .generation import Generation
from .prompt import STOPS, Message, Role, build_prompt
from .settings import MODEL_NAME

MAX_OUTPUT_TOKENS = 1024
DEFAULT_MAX_TOKENS = 256
MAX_TEXT = 32_768
MAX_MESSAGES = 256

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Stop = Annotated[str, Field(min_length=1, max_length=64)]

REFUSED = {
    "tools": "This model cannot call tools.",
    "functions": "This model cannot call functions.",
    "response_format": "This model cannot be held to a response format.",
    "logprobs": "This service does not give log probabilities.",
    "logit_bias": "This service does not take logit biases.",
    "n": "This service gives one choice per request.",
    "best_of": "This service gives one choice per request.",
    "echo": "This service does not repeat the prompt.",
    "suffix": "This model cannot fill in text.",
}
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "n": (1, None),
    "best_of": (1, None),
    "echo": (False, None),
    "logprobs": (False, None),
    "response_format": ({"type": "text"}, None),
}
_IGNORED = frozenset(
    {
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
        "parallel_tool_calls", "tool_choice", "top_logprobs", "modalities",
    }
)  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool = False


class TextPart(_Strict):
    type: Literal["text"]
    text: Text


class ChatMessage(_Strict):
    role: Role
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=64)]
    name: Annotated[str, Field(max_length=64)] | None = None

    def to_message(self) -> Message:
        parts = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        return Message(self.role, parts)


class _Sampling(_Strict):
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_OUTPUT_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def _stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def _generation(
        self, prompt: str, max_tokens: int | None, stops: tuple[str, ...], *, plain: bool
    ) -> Generation:
        return Generation(
            prompt=prompt,
            max_tokens=max_tokens or DEFAULT_MAX_TOKENS,
            temperature=_or(self.temperature, 0.7),
            top_p=_or(self.top_p, 0.95),
            presence_penalty=_or(self.presence_penalty, 0.0),
            frequency_penalty=_or(self.frequency_penalty, 0.0),
            seed=self.seed,
            stop=stops,
            plain=plain,
        )


class ChatRequest(_Sampling):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_OUTPUT_TOKENS)] | None = None

    def to_generation(self) -> Generation:
        """The transcript to continue; it ends where the next turn would begin."""
        prompt = build_prompt([message.to_message() for message in self.messages])
        limit = self.max_completion_tokens or self.max_tokens
        return self._generation(prompt, limit, (*self._stops(), *STOPS), plain=True)


class CompletionRequest(_Sampling):
    """`POST /v1/completions`: the model's native use, the text goes in as it is."""

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]

    def to_generation(self) -> Generation:
        return self._generation(self.prompt, self.max_tokens, self._stops(), plain=False)


Request = TypeVar("Request", ChatRequest, CompletionRequest)


def parse(kind: type[Request], body: bytes) -> Request:
    """The request in `body`.

    Raises:
        InvalidJson: it is not JSON, or no object.
        InvalidRequest: a field is missing, unknown, mistyped, out of range, or not for this model.
        UnknownModel: it asks for another model.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidJson() from None  # the cause would carry the caller's text into the log
    if not isinstance(document, dict):
        raise InvalidJson("The body must be a JSON object.")
    try:
        request = kind.model_validate_json(json.dumps(_without_ignored(document)))
    except ValidationError as error:
        raise _explain(error) from None
    if request.model not in (None, MODEL_NAME):
        raise UnknownModel(param="model")
    return request


def _without_ignored(document: dict[str, Any]) -> dict[str, Any]:
    for name, why in REFUSED.items():
        if name in document and document[name] not in _HARMLESS.get(name, (None, [], {})):
            raise InvalidRequest(why, param=name)
    return {k: v for k, v in document.items() if k not in REFUSED and k not in _IGNORED}


def _explain(error: ValidationError) -> InvalidRequest:
    """The first problem, in words of the schema: pydantic's own message can quote the input."""
    problems = error.errors(include_input=False, include_url=False)
    # Each branch of a union complains; the one that got furthest is the one that was meant.
    same_field = [p for p in problems if p["loc"][:1] == problems[0]["loc"][:1]]
    problem = max(same_field, key=lambda p: len(_path(p["loc"])))
    if problem["type"] == "extra_forbidden":  # the location ends in a name that the caller made up
        return InvalidRequest("The body has a field that this service does not know.")
    param = _path(problem["loc"])
    match problem["type"]:
        case "json_invalid":  # Python's parser lets lone surrogates through, pydantic's does not
            return InvalidRequest("The body holds text that is not valid Unicode.")
        case "missing":
            return InvalidRequest(f"`{param}` is required.", param=param)
        case _:
            return InvalidRequest(f"`{param}` is not valid: {problem['msg']}.", param=param)


def _path(location: tuple[int | str, ...]) -> str:
    """`messages[0].content`: field names and indices; the names of union branches are left out."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in ("str", "float", "int", "bool"):
            path += f".{part}" if path else part
    return path


def _or(given: float | None, default: float) -> float:
    return default if given is None else given
