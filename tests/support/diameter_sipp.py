"""SIP callers and callees played by sipp, each a process of its own with its scenario and its output in a directory.

Before a final answer lie 20 ms: the workers of a switch reorder what comes at once.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.servers import missing_server

_SDP: Final = """\
Content-Type: application/sdp
Content-Length: [len]

v=0
o=user1 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
"""

_CALLED: Final = "sip:[service]@[remote_ip]:[remote_port]"

_INVITE: Final = f"""\
INVITE {_CALLED} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:[field0]@[local_ip]:[local_port]>;tag=[pid]caller[call_number]
To: <{_CALLED}>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:[field0]@[local_ip]:[local_port]>
Max-Forwards: 70
{_SDP}"""

_IN_DIALOG: Final = """\
{method} [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
From: <sip:[field0]@[local_ip]:[local_port]>;tag=[pid]caller[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: {number} {method}
Max-Forwards: 70
Content-Length: 0
"""

_ANSWER: Final = """\
SIP/2.0 {status}
[last_Via:]
[last_From:]
[last_To:]{tag}
[last_Call-ID:]
[last_CSeq:]
[last_Record-Route:]
Contact: <sip:[local_ip]:[local_port];transport=[transport]>
{body}"""

_EMPTY: Final = "Content-Length: 0\n"


def _send(message: str, *, retransmit: bool = False) -> str:
    attribute = ' retrans="500"' if retransmit else ""
    return f"<send{attribute}><![CDATA[\n{message}\n]]></send>\n"


def _answer(status: str, *, tag: str = "", body: str = _EMPTY, retransmit: bool = False) -> str:
    return _send(_ANSWER.format(status=status, tag=tag, body=body), retransmit=retransmit)


def _scenario(name: str, *steps: str) -> str:
    return f'<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name="{name}">\n{"".join(steps)}</scenario>\n'


_PAUSE: Final = '<pause milliseconds="20"/>\n'
_BEGIN: Final = (
    _send(_INVITE, retransmit=True),
    '<recv response="100" optional="true"/>\n',
    '<recv response="180" optional="true"/>\n',
)
_TALK: Final = ('<recv response="200" rrs="true"/>\n', _send(_IN_DIALOG.format(method="ACK", number=1)))

HANGS_UP: Final = _scenario(
    "caller hangs up",
    *_BEGIN,
    *_TALK,
    "<pause/>\n",
    _send(_IN_DIALOG.format(method="BYE", number=2), retransmit=True),
    '<recv response="200"/>\n',
)
"""A caller that talks for as long as it is told."""

IS_CUT_OFF: Final = _scenario(
    "caller is cut off", *_BEGIN, *_TALK, '<recv request="BYE"/>\n', _PAUSE, _answer("200 OK")
)
"""A caller that talks until the switch hangs up."""


def is_refused(status: int) -> str:
    """A caller that is refused with a status."""
    return _scenario(
        "caller is refused",
        *_BEGIN,
        f'<recv response="{status}"/>\n',
        _send(
            _IN_DIALOG.format(method="ACK", number=1).replace("[next_url]", "sip:[service]@[remote_ip]:[remote_port]")
        ),
    )


CALLEE: Final = _scenario(
    "callee",
    '<recv request="INVITE" rrs="true"/>\n',
    _answer("180 Ringing", tag=";tag=[pid]callee[call_number]"),
    _PAUSE,
    _answer("200 OK", tag=";tag=[pid]callee[call_number]", body=_SDP, retransmit=True),
    '<recv request="ACK"/>\n',
    '<recv request="BYE"/>\n',
    _PAUSE,
    _answer("200 OK"),
)
"""Answers each call after 20 ms, and waits for its end."""


def sipp() -> str:
    """The program; skip the test where it is missing, or fail it where CI=true."""
    found = shutil.which("sipp")
    if found is None:
        missing_server("sipp is not on this machine (apt-get install sip-tester)")
    return found


@contextmanager
def running_callee(directory: Path, port: int) -> Iterator[None]:
    """Answer calls on a port until the block ends."""
    scenario = directory / "callee.xml"
    scenario.write_text(CALLEE)
    with (directory / "callee.log").open("wb") as output:
        process = subprocess.Popen(
            [sipp(), "-sf", str(scenario), "-i", "127.0.0.1", "-p", str(port), "-nostdin"],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()


def place_call(
    directory: Path,
    scenario: str,
    proxy: str,
    *,
    port: int,
    calling: str,
    called: str,
    talk_seconds: float = 0.0,
    limit_seconds: float = 60.0,
) -> None:
    """Place one call and wait for its end.

    Raises:
        AssertionError: It went otherwise than the scenario has it; with sipp's output.
    """
    (directory / "caller.xml").write_text(scenario)
    (directory / "caller.csv").write_text(f"SEQUENTIAL\n{calling}\n")
    command = [
        sipp(),
        proxy,
        "-sf",
        "caller.xml",
        "-inf",
        "caller.csv",
        "-s",
        called,
        "-i",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    command += ["-m", "1", "-d", str(round(talk_seconds * 1000)), "-nostdin", "-trace_err", "-error_file", "caller.err"]
    done = subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_seconds, check=False
    )
    errors = directory / "caller.err"
    assert done.returncode == 0, (done.stdout[-3000:].decode(), errors.read_text() if errors.exists() else "")
