"""Reads what `dlg.profile_list` says of the dialogs that Kamailio has."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.kamailio.errors import ProtocolError
from gateway.kamailio.facts import CallFacts
from gateway.kamailio.notes import DialogName

log = logging.getLogger(__name__)

CALL_VARIABLE: Final = "tollgate_call"
ANSWERED_VARIABLE: Final = "tollgate_answered_at"

CONFIRMED_STATES: Final = (3, 4)
"""Answered, without and with its ACK."""

_ENDED_STATE: Final = 5


@dataclass(frozen=True, slots=True)
class Dialog:
    """A dialog that is one of Tollgate's calls and has not ended.

    Attributes:
        name: How Kamailio knows it.
        call: What it stands for.
        answered_at: In Unix seconds; 0: it rings.
        caller: The caller's Contact.
        callee: The callee's; empty while it rings.
    """

    name: DialogName
    call: CallFacts
    answered_at: float
    caller: str
    callee: str


def read_dialogs(result: Any) -> Iterator[Dialog]:
    """Tollgate's calls among the dialogs of a list; others are passed over, and so is what cannot be read.

    Args:
        result: The result of `dlg.profile_list` or `dlg.list`: a list of dialogs, or a single one.

    Raises:
        ProtocolError: It is neither.
    """
    listed = [result] if isinstance(result, dict) and result else result or []
    if not isinstance(listed, list):
        raise ProtocolError(f"no dialogs: {str(result)[:200]}")
    for each in listed:
        try:
            dialog = _read(each)
        except (KeyError, TypeError, ValueError, AttributeError, ProtocolError) as error:
            log.warning("a dialog cannot be read (%r): %.500s", error, each)
            continue
        if dialog is not None:
            yield dialog


def _read(fields: Mapping[str, Any]) -> Dialog | None:
    variables = _variables(fields.get("variables", []))
    if CALL_VARIABLE not in variables or fields["state"] == _ENDED_STATE:
        return None
    call = CallFacts.read(json.loads(variables[CALL_VARIABLE]))
    answered_at = float(variables.get(ANSWERED_VARIABLE, 0)) if fields["state"] in CONFIRMED_STATES else 0.0
    name = DialogName(int(fields["h_entry"]), int(fields["h_id"]))
    caller, callee = (str(fields[side]["contact"] or "") for side in ("caller", "callee"))
    return Dialog(name, call, answered_at, caller, callee)


def _variables(listed: list[Mapping[str, str]]) -> dict[str, str]:
    return {name: value for each in listed for name, value in each.items()}
