"""The interface as OpenAPI 3.1 describes it, made of the tables that the server itself goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.serving.asking import FIELDS
from tdt.serving.refusing import STATUSES, TABLE
from tdt.version import __version__

if TYPE_CHECKING:
    from tdt.serving.asking import Field
    from tdt.serving.settings import Settings

_TRUTHS = {"stream"}
_ERROR = {"$ref": "#/components/schemas/Error"}
_POSTED = (400, 401, 404, 408, 413, 429, 500, 503)


def description(settings: Settings) -> dict[str, Any]:
    """Return the description of a server with these settings."""
    guarded: list[Any] = [{"key": []}] if settings.api_keys else []
    form = {"multipart/form-data": {"schema": _form()}}
    answers: dict[str, Any] = {"200": _transcript()} | {str(status): _refusal(status) for status in _POSTED}
    return {
        "openapi": "3.1.0",
        "info": {"title": "parakeet-tdt", "version": __version__, "description": "Speech recognition by tdt serve."},
        "paths": {
            "/v1/audio/transcriptions": {
                "post": {
                    "operationId": "transcribe",
                    "summary": "Transcribe a recording",
                    "security": guarded,
                    "requestBody": {"required": True, "content": form},
                    "responses": answers,
                }
            },
            "/v1/audio/translations": {
                "post": {
                    "operationId": "translate",
                    "summary": "Not offered",
                    "security": guarded,
                    "requestBody": {"content": {"multipart/form-data": {"schema": {"type": "object"}}}},
                    "responses": {str(status): _refusal(status) for status in (401, 501)},
                }
            },
            "/v1/models": _got("models", "The loaded model", {"application/json": {"schema": _models()}}, guarded, 401),
            "/health": _got(
                "health", "Whether requests are taken", {"application/json": {"schema": _health()}}, [], 503
            ),
            "/metrics": _got("metrics", "Counters for Prometheus", _texts("text/plain"), guarded, 401),
            "/openapi.json": _got("describe", "This", {"application/json": {"schema": {"type": "object"}}}, []),
        },
        "components": {
            "schemas": {"Error": _error()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _form() -> dict[str, Any]:
    """Return the schema of the form; a field that may come several times is spelled with brackets, as clients do."""
    offered = {name: field for name, field in FIELDS.items() if field.effect != "refused"}
    return {
        "type": "object",
        "properties": {name + "[]" * field.many: _field(name, field) for name, field in offered.items()},
        "required": ["file"],
        "additionalProperties": False,
    }


def _field(name: str, field: Field) -> dict[str, Any]:
    if name == "file":
        return {"type": "string", "format": "binary", "description": field.says}
    one: dict[str, Any] = {"type": "boolean"} if name in _TRUTHS else {"type": "string"}
    if name == "temperature":
        one = {"type": "number", "const": 0}
    if field.choices:
        one["enum"] = list(field.choices)
    says = field.says if field.effect == "honoured" else f"{field.effect}: {field.says}"
    return {"type": "array", "items": one, "description": says} if field.many else one | {"description": says}


def _transcript() -> dict[str, Any]:
    shape = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text", "usage"]}
    texts = _texts("text/plain", "application/x-subrip", "text/vtt", "text/event-stream")
    return {
        "description": "The transcript, in the form that was asked for",
        "content": {"application/json": {"schema": shape}} | texts,
    }


def _texts(*kinds: str) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string"}} for kind in kinds}


def _refusal(status: int) -> dict[str, Any]:
    rows = [*TABLE.values(), *STATUSES.values()]
    codes = ", ".join(dict.fromkeys(row.code for row in rows if row.status == status))
    return {"description": f"Refused: {codes}", "content": {"application/json": {"schema": _ERROR}}}


def _got(name: str, summary: str, content: dict[str, Any], guarded: list[Any], *statuses: int) -> dict[str, Any]:
    answers = {"200": {"description": summary, "content": content}}
    answers |= {str(status): _refusal(status) for status in statuses}
    return {"get": {"operationId": name, "summary": summary, "security": guarded, "responses": answers}}


def _error() -> dict[str, Any]:
    words = {"type": "string"}
    inside = {
        "type": "object",
        "properties": {"message": words, "type": words, "param": {"type": ["string", "null"]}, "code": words},
        "required": ["message", "type", "param", "code"],
    }
    return {"type": "object", "properties": {"error": inside}, "required": ["error"]}


def _models() -> dict[str, Any]:
    one = {"type": "object", "required": ["id", "object", "created", "owned_by"]}
    return {"type": "object", "properties": {"data": {"type": "array", "items": one}}, "required": ["object", "data"]}


def _health() -> dict[str, Any]:
    return {"type": "object", "required": ["status", "model", "provider"]}
