"""A sidecar that grants everything at once and asks nobody: what evapi alone costs. `python -m ... PORT`."""

import sys

import uvloop

from gateway.address import Address
from gateway.kamailio.answers import Answer
from gateway.kamailio.notes import CallAsked, Note
from gateway.kamailio.switch_link import SwitchLink

_GRANTED = Answer(200, "OK", "FUNDED", 60).fields()


async def run(port: int) -> None:
    """Grant until the process is ended."""

    def grant(note: Note) -> None:
        if isinstance(note, CallAsked):
            told = {"do": "decide", "index": note.transaction.index, "label": note.transaction.label}
            link.send(told | _GRANTED | {"kind": "call", "office_id": note.call.office_id, "id": note.call.call_id})

    async def nothing() -> None:
        pass

    link = SwitchLink(Address("127.0.0.1", port), on_note=grant, on_connected=nothing, on_broken=lambda: None)
    await link.run()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1])))
