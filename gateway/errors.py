"""The one tree of errors that may reach a caller.

Each class owns its gRPC code (by name: this module knows no grpc) and its ErrorInfo reason; one interceptor maps
them. A message says what is wrong and what cures it, in words fit for the caller: an engine's own words belong in
`__cause__`, which is logged and never sent. A "no" about a call is not here: that is an answer (Decision), not a fault.

`reason` is UPPER_SNAKE and stable: clients switch on it. Where one class serves several cases, pass `reason=`; where a
case is caught by name, subclass it.
"""

from collections.abc import Mapping, Sequence


class TollgateError(Exception):
    """The root: whoever catches this catches every fault that has a code, a reason and a cure."""

    code: str = "INTERNAL"
    reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason
        self.field = field
        self.metadata: dict[str, str] = dict(metadata or {})


class InvalidArgument(TollgateError):
    """A field of the request is wrong whatever the state of the system; nothing was changed."""

    code = "INVALID_ARGUMENT"
    reason = "INVALID_ARGUMENT"

    field: str

    def __init__(
        self,
        field: str,
        message: str,
        *,
        reason: str | None = None,
        violations: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Name the field and the cure.

        Args:
            field: That is wrong.
            message: What it may be.
            reason: Instead of the class's.
            violations: Parts of the field and what is wrong with each, where one message cannot say it all.
        """
        super().__init__(f"{field}: {message}", reason=reason, field=field)
        self.violations = tuple(violations) or ((field, message),)


class NotFound(TollgateError):
    """What the request names does not exist."""

    code = "NOT_FOUND"
    reason = "NOT_FOUND"


class AlreadyExists(TollgateError):
    """The id or key is taken by something of another content; nothing was changed."""

    code = "ALREADY_EXISTS"
    reason = "ALREADY_EXISTS"


class FailedPrecondition(TollgateError):
    """The request is sound, but not in the present state; the message says what would have to change."""

    code = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"


class Unauthenticated(TollgateError):
    """No token, or none that is known, in force and unexpired: which of them is not said."""

    code = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"

    def __init__(
        self, message: str = "No valid token: send one that is in force as 'authorization: Bearer <token>'."
    ) -> None:
        super().__init__(message)


class PermissionDenied(TollgateError):
    """The bearer may not do this. One message for every case, so that it tells nothing about what exists."""

    code = "PERMISSION_DENIED"
    reason = "PERMISSION_DENIED"

    def __init__(self) -> None:
        super().__init__("This token may not do that; ask an operator for one with the role and the scope it needs.")


class ResourceExhausted(TollgateError):
    """Load was shed or a limit reached before anything was done: retry later."""

    code = "RESOURCE_EXHAUSTED"
    reason = "OVERLOADED"


class RateLimited(ResourceExhausted):
    """One caller asked more than it may, before anything was done; others are not concerned.

    Attributes:
        retry_after_seconds: When it will be listened to again, above 0.
    """

    reason = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after_seconds: float, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(TollgateError):
    """Something needed did not answer: the outcome may be unknown, and a retry with the same id is safe."""

    code = "UNAVAILABLE"
    reason = "UNAVAILABLE"


class Internal(TollgateError):
    """An invariant is broken or a bug was met; the details are in the log only."""

    code = "INTERNAL"
    reason = "INTERNAL"

    def __init__(self, message: str = "An internal error; the log of the gateway has the details.") -> None:
        super().__init__(message)
