"""What a server refuses, or could not do in time: the caller's mistakes, too much at once, the end of the server."""

from __future__ import annotations

from tdt.error_root import TdtError


class RequestError(TdtError, ValueError):
    """A request that cannot be done as it was asked.

    Attributes
    ----------
    field : str or None
        Which field of it is to blame.
    """

    field: str | None = None


class FieldError(RequestError):
    """A field of a request has a value that cannot be used, is missing, or is none that is known."""

    def __init__(self, field: str, given: str, expected: str) -> None:
        self.field = field
        super().__init__(f"The field {field!r} {given}: expected {expected}.")


class FormError(RequestError):
    """The body of a request is no form that can be read."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"The body cannot be read as a form: {problem}. Expected multipart/form-data with the sound in the field "
            "'file', as `curl -F file=@talk.flac` sends it."
        )


class NoSuchModelError(RequestError, LookupError):
    """A request names a model that this server has not loaded."""

    def __init__(self, given: str, loaded: str) -> None:
        self.field = "model"
        super().__init__(f"The model {given!r} is not loaded here. Ask for {loaded!r}, or leave the field out.")


class UploadTooLargeError(RequestError):
    """The body of a request holds more bytes than the server takes."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(
            f"The body holds more than {most_bytes / 1e6:g} MB, the most that this server takes (--max-mb). Send a "
            "compressed format such as FLAC or Opus, or cut the recording."
        )


class RecordingTooLongError(RequestError):
    """The recording lasts longer than the server takes."""

    def __init__(self, most_seconds: float) -> None:
        self.field = "file"
        super().__init__(
            f"The recording lasts longer than {most_seconds:g} s, the most that this server takes (--max-seconds). Cut "
            "it into parts."
        )


class UploadTimeoutError(RequestError, TimeoutError):
    """The body of a request came too slowly."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The body did not arrive within {seconds:g} s, the longest that this server waits (--upload-seconds). "
            "Send it faster, or in a smaller format."
        )


class UnauthorizedError(RequestError, PermissionError):
    """The request carries no key, or none of the server's."""

    def __init__(self) -> None:
        super().__init__(
            "This server wants a key, and the request has none of its keys: send 'Authorization: Bearer KEY'."
        )


class NotOfferedError(RequestError, NotImplementedError):
    """Something that the interface knows and this server does not do."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} is not offered here: {reason}.")


class QueueFullError(RequestError):
    """As many requests as the server takes are under way.

    Attributes
    ----------
    retry_seconds : int
        After how many seconds one is likely to be done.
    """

    def __init__(self, most: int, retry_seconds: int) -> None:
        self.retry_seconds = retry_seconds
        super().__init__(
            f"{most} requests are under way, as many as this server takes at a time (--queue). Try again in "
            f"{retry_seconds} s."
        )


class RequestTimeoutError(RequestError, TimeoutError):
    """A request was not done in the time that the server gives to each."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The request was not done within {seconds:g} s, the longest that this server works on one (--timeout). "
            "Send a shorter recording, or ask when less is going on."
        )


class ServerClosedError(RequestError):
    """The server is about to end, or has not begun, and takes no request."""

    def __init__(self) -> None:
        super().__init__("The server takes no requests: it is ending, or has not begun. Try again in a moment.")


class SelfCheckError(TdtError, RuntimeError):
    """The engine of a server does not say what the recogniser says."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(
            f"The server's check of itself failed: the bundled clip gave {found!r}, and {expected!r} was expected. Run "
            "`tdt doctor` with the same model and provider."
        )
