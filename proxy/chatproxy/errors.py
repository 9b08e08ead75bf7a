"""Every failure a client can be told about.

    ChatProxyError            500 internal_error
      InvalidRequest          400 invalid_request
      Unauthorized            401 unauthorized
      Forbidden               403 forbidden
      OriginNotAllowed        403 origin_not_allowed
      NotFound                404 not_found
      TakenOver               409 taken_over
      JobEnded                409 job_ended
      SourceBusy              409 source_busy
      ContextTooLong          422 context_too_long
      RateLimited             429 rate_limited          (Retry-After)
      Busy                    503 busy                  (Retry-After)
      StorageUnavailable      503 storage_unavailable   (Retry-After)
        StorageFull           503 storage_full          (Retry-After)
      Unavailable             503 unavailable           (Retry-After)
      SearchUnavailable       502 search_unavailable
      EngineFailure           502 engine_error
        EngineTimeout         504 engine_timeout
      MailFailed              502 mail_failed
      ConsoleError
        WrongPassword         401 wrong_password
        NotFromThisPage       403 not_from_this_page

    ConfigurationError        never reaches a client: it stops the start
    Unhealthy                 one dependency's short reason, for /readyz

The exception's own text is for the log and may name hosts; `public` is all that a client sees.
"""

from __future__ import annotations


class ChatProxyError(Exception):
    """A failure with a stable code, an HTTP status and a text that is safe to show."""

    code = "internal_error"
    status = 500
    public = "Something went wrong on our side. The request id in the X-Request-Id header finds it in the log."

    def __init__(self, detail: str = "", *, public: str | None = None, retry_after: int | None = None) -> None:
        """`detail` goes to the log, `public` to the client, `retry_after` (seconds) into Retry-After."""
        super().__init__(detail or public or self.public)
        if public is not None:
            self.public = public
        self.retry_after = retry_after


class InvalidRequest(ChatProxyError):
    """The client's mistake; the text names the field and what is wrong with it."""

    code = "invalid_request"
    status = 400
    public = "The request is not valid."

    def __init__(self, public: str) -> None:
        super().__init__(public=public)


class Unauthorized(ChatProxyError):
    """No key, a malformed one, or one that is unknown, expired or revoked: deliberately not told apart."""

    code = "unauthorized"
    status = 401
    public = "A valid key is needed: send it as 'Authorization: Bearer kb_...'."


class ConsoleError(ChatProxyError):
    """What only the console's pages tell; no API has these."""


class WrongPassword(ConsoleError):
    """A log-in whose name and password do not belong together; which of the two is wrong is not told."""

    code = "wrong_password"
    status = 401
    public = "Name and password do not belong together."


class NotFromThisPage(ConsoleError):
    """A request to the console that none of its own pages has sent, or one that is too old."""

    code = "not_from_this_page"
    status = 403
    public = "This came from another page, or from one that was left open for too long. Open the page again."


class Forbidden(ChatProxyError):
    """A valid key without the scope that the route asks for."""

    code = "forbidden"
    status = 403
    public = "This key may not do that."


class OriginNotAllowed(ChatProxyError):
    """A page of an origin that the site key, or the visitor's token, is not for; the text is for the page's owner."""

    code = "origin_not_allowed"
    status = 403
    public = "Pages of this origin may not use this chat."


class NotFound(ChatProxyError):
    """It does not exist, or it belongs to somebody else: deliberately not told apart."""

    code = "not_found"
    status = 404
    public = "There is nothing here."


class TakenOver(ChatProxyError):
    """Another connection goes on with this answer; this one has ended without losing anything of it."""

    code = "taken_over"
    status = 409
    public = "This answer is being continued on another connection."


class SourceBusy(ChatProxyError):
    """A source of knowledge that is being taken away cannot be changed or given again meanwhile."""

    code = "source_busy"
    status = 409
    public = "This source is being removed."


class JobEnded(ChatProxyError):
    """Work that is done, has failed or was ended: there is nothing left to pause, resume or cancel."""

    code = "job_ended"
    status = 409
    public = "This job has ended."


class ContextTooLong(ChatProxyError):
    """What must be kept (system text, persona, newest message) does not fit the model's context window."""

    code = "context_too_long"
    status = 422
    public = "The message is too long for the model's context window."


class RateLimited(ChatProxyError):
    """A budget (requests, tokens, streams) of this key or address is used up; the text says which."""

    code = "rate_limited"
    status = 429
    public = "Too many requests. Please wait a moment."


class Busy(ChatProxyError):
    """The queue in front of the engine is full."""

    code = "busy"
    status = 503
    public = "All places in the queue are taken. Please try again shortly."


class Unavailable(ChatProxyError):
    """This process is about to start again, as Caddy says while it does: nothing was lost, and clients come back."""

    code = "unavailable"
    status = 503
    public = "The chat is starting again. Please try again in a few seconds."

    def __init__(self, detail: str = "", *, public: str | None = None, retry_after: int | None = 3) -> None:
        super().__init__(detail, public=public, retry_after=retry_after)


class SearchUnavailable(ChatProxyError):
    """The owner's documents cannot be searched; answering without them is still possible."""

    code = "search_unavailable"
    status = 502
    public = "The search service gave no usable answer."


class StorageUnavailable(ChatProxyError):
    """The database cannot be reached or refuses us; nothing was acknowledged."""

    code = "storage_unavailable"
    status = 503
    public = "The chat history cannot be reached at the moment. Please try again shortly."

    def __init__(self, detail: str = "", *, public: str | None = None, retry_after: int | None = 5) -> None:
        super().__init__(detail, public=public, retry_after=retry_after)


class StorageFull(StorageUnavailable):
    """The database's disk is nearly full: nothing new is taken in, so that what is stored can still be read."""

    code = "storage_full"
    public = "The chat can store nothing new at the moment. What has been said is kept. Please try again later."

    def __init__(self, detail: str = "", *, public: str | None = None, retry_after: int | None = 60) -> None:
        super().__init__(detail, public=public, retry_after=retry_after)


class EngineFailure(ChatProxyError):
    """The engine cannot be reached, died in mid-answer, or said something that is not an answer."""

    code = "engine_error"
    status = 502
    public = "The language model gave no usable answer."


class EngineTimeout(EngineFailure):
    """The engine stayed silent for longer than its time-out."""

    code = "engine_timeout"
    status = 504
    public = "The language model did not answer in time."


class MailFailed(ChatProxyError):
    """The mail server cannot be reached, or does not take what is sent."""

    code = "mail_failed"
    status = 502
    public = "The e-mail could not be sent. Nothing is lost. Please try again in a few minutes."


class ConfigurationError(Exception):
    """A setting, bot file or prompt format that cannot be used; the text names it and says what is wrong."""


class Unhealthy(Exception):
    """A dependency does not work; the text is a short reason without host names, fit for /readyz."""
