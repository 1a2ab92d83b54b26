"""Which error is answered with which status, in OpenAI's shape: one table, and nothing else makes an error's body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tdt import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

INVALID, SERVER, LIMIT = "invalid_request_error", "server_error", "rate_limit_error"


class Refusal(NamedTuple):
    """How an error is answered.

    Parameters
    ----------
    status : int
    kind : str
        OpenAI's `type`.
    code : str
        OpenAI's `code`.
    again : bool
        Whether the same request may be worth another try; the `openai` package asks the answer that.
    """

    status: int
    kind: str
    code: str
    again: bool = False


# Looked up along the bases of an error's class; the root is an error of ours that nobody should meet.
TABLE: dict[type[BaseException], Refusal] = {
    errors.FieldError: Refusal(400, INVALID, "invalid_field"),
    errors.FormError: Refusal(400, INVALID, "invalid_form"),
    errors.OptionError: Refusal(400, INVALID, "invalid_value"),
    errors.AudioError: Refusal(400, INVALID, "audio_unreadable"),
    errors.AudioTailError: Refusal(400, INVALID, "audio_breaks_off"),
    errors.AudioTooShortError: Refusal(400, INVALID, "audio_too_short"),
    errors.AudioTooLongError: Refusal(400, INVALID, "audio_too_long"),
    errors.AudioValueError: Refusal(400, INVALID, "audio_not_finite"),
    errors.UnauthorizedError: Refusal(401, INVALID, "invalid_api_key"),
    errors.NoSuchModelError: Refusal(404, INVALID, "model_not_found"),
    errors.UploadTimeoutError: Refusal(408, INVALID, "upload_timeout"),
    errors.UploadTooLargeError: Refusal(413, INVALID, "upload_too_large"),
    errors.RecordingTooLongError: Refusal(413, INVALID, "recording_too_long"),
    errors.QueueFullError: Refusal(429, LIMIT, "queue_full", again=True),
    errors.NotOfferedError: Refusal(501, INVALID, "not_offered"),
    errors.ServerClosedError: Refusal(503, SERVER, "server_closing", again=True),
    errors.RequestTimeoutError: Refusal(503, SERVER, "timeout"),
    errors.DeviceMemoryError: Refusal(503, SERVER, "device_memory", again=True),
    errors.DecodingError: Refusal(500, SERVER, "decoding_failed"),
    errors.TdtError: Refusal(500, SERVER, "failed"),
}
# What has no error of ours: a path or method that is none, and what nobody foresaw.
STATUSES: dict[int, Refusal] = {
    404: Refusal(404, INVALID, "not_found"),
    405: Refusal(405, INVALID, "method_not_allowed"),
    500: Refusal(500, SERVER, "unexpected"),
}
UNEXPECTED = "The server failed in a way that it did not foresee; its log tells more under the id of this request."
_RETRY_SECONDS = 1


def refusal_of(error: BaseException) -> Refusal:
    """Return how an error is answered."""
    return next((TABLE[base] for base in type(error).__mro__ if base in TABLE), STATUSES[500])


def body_of(refusal: Refusal, message: str, field: str | None = None) -> dict[str, Any]:
    """Return an error's body in OpenAI's shape."""
    return {"error": {"message": message, "type": refusal.kind, "param": field, "code": refusal.code}}


def refused(error: BaseException) -> tuple[Refusal, dict[str, Any]]:
    """Return how an error is answered, and its body; what was not foreseen is not told to strangers."""
    refusal = refusal_of(error)
    message = str(error) if isinstance(error, errors.TdtError) else UNEXPECTED
    field = "file" if isinstance(error, errors.AudioError) else getattr(error, "field", None)
    return refusal, body_of(refusal, message, field)


def headers_of(error: BaseException) -> Mapping[str, str]:
    """Return what the headers of an error's answer say: whether, and when, to try again."""
    refusal = refusal_of(error)
    headers = {"x-should-retry": "true" if refusal.again else "false"}
    if refusal.status in {429, 503} and refusal.again:
        headers["retry-after"] = str(getattr(error, "retry_seconds", _RETRY_SECONDS))
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers
