"""How the demo names calls and decisions."""

from gateway.v1 import authorization_pb2 as pb


def called(request: pb.AuthorizeCallRequest) -> str:
    """A call by the number at its other end."""
    if request.direction == pb.INBOUND:
        return f"call from {request.calling_number}"
    return f"{'fax' if request.service == pb.FAX else 'call'} to {request.called_number}"


def decided(answer: pb.AuthorizeCallResponse | pb.AuthorizeMessageResponse) -> str:
    """A decision with its reason."""
    return f"{pb.Decision.Name(answer.decision)} {pb.Reason.Name(answer.reason)}"
