"""The API described: OpenAPI 3.1, made of the same operations and models that answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from whatsapp_logs.rights import Right
from whatsapp_logs.web.api_models import Problem

_SCHEMAS = "#/components/schemas/"
_VERSION = "1.2.0"  # of the specification whose shapes these are
_INTRODUCTION = (
    "Every WhatsApp message of the office, from queued to read. Programs send their token as Authorization: Bearer. Browsers send "
    "the portal's session cookie; with it, a change also carries the session's CSRF token in the header X-CSRFToken. "
    "`success` says whether it was done, `message` says the rest in words."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing the API does. `answer` None stands for this description itself or, with their media types, for `files`."""

    method: str
    rule: str
    view: Callable[..., Any]
    right: Right | None
    answer: type[BaseModel] | None
    files: Sequence[str] = ()
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    problems: Sequence[int] = ()
    id_schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})  # of the argument in the path

    @property
    def name(self) -> str:
        """The operation's id, and the end of its Flask endpoint."""
        return self.view.__name__

    @property
    def path(self) -> str:
        """The rule as OpenAPI writes it: `<id>` → `{id}`."""
        return self.rule.replace("<", "{").replace(">", "}")


def describe(operations: Sequence[Operation], *, server: str) -> dict[str, Any]:
    """The OpenAPI document of these operations, below `server`."""
    pairs = {pair for operation in operations for pair in _models(operation)}
    _, definitions = models_json_schema(
        sorted(pairs, key=lambda pair: pair[0].__name__), ref_template=_SCHEMAS + "{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "WhatsApp Logs", "version": _VERSION, "description": _INTRODUCTION},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "session", "description": "The portal's sign-in"},
                "token": {"type": "http", "scheme": "bearer", "description": "A token of the page “API tokens”"},
                "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRFToken"},
            },
        },
    }


def _models(operation: Operation) -> Iterator[tuple[type[BaseModel], Any]]:
    yield Problem, "serialization"
    if operation.answer is not None:
        yield operation.answer, "serialization"
    if operation.body is not None:
        yield operation.body, "validation"


def _described(operation: Operation) -> dict[str, Any]:
    summary = (operation.view.__doc__ or operation.name).strip().split("\n\n")[0]
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": " ".join(summary.split()),
        "security": _security(operation),
        "responses": {"200": _files(operation.files) if operation.files else _response("OK", operation.answer)},
    }
    if operation.right is not None:
        described["description"] = f"Needs the right to {operation.right}."
    for status in sorted({*operation.problems, *((401, 403, 429, 503) if operation.right else ())}):
        described["responses"][str(status)] = _response(HTTPStatus(status).phrase, Problem)
    parameters = [*_path_parameters(operation), *_query_parameters(operation)]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        schema = {"schema": {"$ref": _SCHEMAS + operation.body.__name__}}
        content = {"application/json": schema, "application/x-www-form-urlencoded": schema}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if operation.right is None:
        return []
    browser: dict[str, list[str]] = {"session": [], "csrf": []} if operation.method == "POST" else {"session": []}
    return [{"token": []}, browser]


def _response(description: str, model: type[BaseModel] | None) -> dict[str, Any]:
    schema = {"type": "object"} if model is None else {"$ref": _SCHEMAS + model.__name__}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _files(media_types: Sequence[str]) -> dict[str, Any]:
    schema = {"type": "string", "format": "binary"}
    return {"description": "The file", "content": {media_type: {"schema": schema} for media_type in media_types}}


def _path_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for part in operation.rule.split("<")[1:]:
        yield {"name": part.partition(">")[0], "in": "path", "required": True, "schema": dict(operation.id_schema)}


def _query_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.query is None:
        return
    # Statuses are written out in place: a parameter has no room for definitions of its own.
    schema = operation.query.model_json_schema()
    definitions = schema.get("$defs", {})
    for name, described in schema["properties"].items():
        text = described.pop("description", "")
        items = described.get("items", {})
        if "$ref" in items:
            described["items"] = definitions[items["$ref"].rpartition("/")[2]]
        described.pop("title", None)
        yield {"name": name, "in": "query", "description": text, "schema": described}
