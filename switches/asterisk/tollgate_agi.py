#!/usr/bin/env python3
"""Tollgate for Asterisk: one AGI script for three moments of a call; nothing but the standard library.

    authorize,OFFICE,CALLED            before Dial: sets TOLLGATE_CAUSE (0: go on), TOLLGATE_GRANTED and TOLLGATE_REASON
    answer,OFFICE,CALL_ID,GRANTED      on the called channel when it answers (Dial's U option): limits it, then ticks
    end,OFFICE,CALL_ID,CAUSE,MILLIS    in the hangup handler: settles the call

Asterisk cuts a call at its granted seconds by TIMEOUT(absolute) of the called channel, whether or not the gateway can
be reached then; each tick that grants more moves that moment.
"""

import http.client
import json
import math
import os
import signal
import subprocess
import sys
import syslog
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

CONFIG = Path(os.environ.get("TOLLGATE_CONFIG", "/etc/asterisk/tollgate.json"))
"""{"url": "http://127.0.0.1:8080", "token": "...", "settle_seconds": 3600}: the last is how long an end is repeated."""

EMERGENCY_NUMBERS = frozenset({"911", "112", "999", "000"})
CAUSES = {  # Q.850, which chan_pjsip turns into 403 (21) and 404 (1). No cause becomes a 402.
    "INSUFFICIENT_FUNDS": 21,
    "SPEND_LIMIT": 21,
    "PRICE_LIMIT": 21,
    "DESTINATION_BLOCKED": 21,
    "FRAUD_GUARD": 21,
    "OFFICE_SUSPENDED": 21,
    "UNKNOWN_OFFICE": 21,
    "CALL_ENDED": 21,
    "INVALID_NUMBER": 1,
    "NO_RATE": 1,
}
UNAVAILABLE = 34  # 503: too many calls, or nobody could be asked.
ASK_AGAIN = frozenset({429, 502, 503, 504})
SETTLE_SECONDS = 3600


class Unanswered(Exception):
    """The gateway may or may not have done it: ask again with the same id."""


class Refused(Exception):
    """The gateway will not do it, however often it is asked."""


class Gateway:
    """The HTTP hooks of a gateway."""

    def __init__(self, url: str, token: str, settle_seconds: float = SETTLE_SECONDS) -> None:
        self.settle_seconds = settle_seconds
        self._url = f"{url.rstrip('/')}/v1/calls/"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, operation: str, patience_seconds: float, **fields: object) -> dict[str, Any]:
        """Ask until there is an answer, or patience ends; the ids in the fields make that safe.

        Raises:
            Unanswered: Patience ended.
            Refused: The request is wrong, or the token.
        """
        request = urllib.request.Request(  # noqa: S310  # the URL is the configuration's
            self._url + operation, json.dumps(fields).encode(), self._headers
        )
        deadline, pause = time.monotonic() + patience_seconds, 0.05
        while True:
            try:
                with self._opener.open(request, timeout=1) as response:
                    answer: dict[str, Any] = json.load(response)
                    return answer
            except urllib.error.HTTPError as error:
                why = f"{error.code} {error.read(500).decode(errors='replace')}"
                if error.code not in ASK_AGAIN:
                    raise Refused(why) from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                why = repr(error)
            if time.monotonic() + pause > deadline:
                raise Unanswered(why)
            time.sleep(pause)
            pause = min(pause * 2, 30)


class Agi:
    """Asterisk's side of the standard streams."""

    def __init__(self) -> None:
        # A caller's name may be in any encoding, or in none.
        sys.stdin = open(0, errors="replace", closefd=False)  # noqa: SIM115  # open for as long as we run
        self.environment: dict[str, str] = {}
        for line in iter(sys.stdin.readline, ""):
            name, separator, value = line.rstrip("\n").partition(": ")
            if not line.strip():
                break
            if separator:
                self.environment[name] = value

    def arguments(self) -> list[str]:
        """What the dialplan passes after the script's name."""
        names = (f"agi_arg_{n}" for n in range(1, 10))
        return [self.environment[name] for name in names if name in self.environment]

    def set_variable(self, name: str, value: object) -> None:
        """Set a variable, or a function, of the channel."""
        quoted = str(value).replace("\\", "\\\\").replace('"', '\\"')
        sys.stdout.write(f'SET VARIABLE {name} "{quoted}"\n')
        sys.stdout.flush()
        sys.stdin.readline()


def authorize(agi: Agi, gateway: Gateway, office: str, called: str) -> None:
    """Decide before Dial; refuse where nobody can be asked, but an emergency call never."""
    call_id, emergency = agi.environment["agi_uniqueid"], called in EMERGENCY_NUMBERS
    calling = "".join(filter(str.isprintable, agi.environment.get("agi_callerid", "")))
    cause, granted, reason, unanswered = UNAVAILABLE, 0, "UNAVAILABLE", False
    try:
        answer = gateway.ask(
            "authorize",
            0.2 if emergency else 2.0,
            officeId=office,
            callId=call_id,
            direction="OUTBOUND",
            callingNumber="" if calling == "unknown" else calling[:64],
            calledNumber=called,
        )
        granted, reason = answer["grantedSeconds"], answer["reason"]
        cause = 0 if answer["decision"] == "GRANTED" else CAUSES.get(reason, UNAVAILABLE)
    except Unanswered as error:
        unanswered = True
        syslog.syslog(syslog.LOG_ERR, f"{call_id}: not authorized: {error}")
    except Refused as error:
        syslog.syslog(syslog.LOG_ERR, f"{call_id}: not authorized: {error}")
    agi.set_variable("TOLLGATE_CAUSE", 0 if emergency else cause)
    agi.set_variable("TOLLGATE_GRANTED", granted)
    agi.set_variable("TOLLGATE_REASON", "EMERGENCY" if emergency else reason)
    if unanswered and not emergency and detach():
        # It may hold money for a call that will not be.
        end(gateway, office, call_id, "not authorized", 0)


def answer(agi: Agi, gateway: Gateway, office: str, call_id: str, granted: int) -> None:
    """Limit the called channel at once, then tick from a process of our own: the caller waits for us."""
    answered, channel = time.monotonic(), agi.environment["agi_channel"]
    if granted:
        agi.set_variable("TIMEOUT(absolute)", granted)
    if not detach():
        return
    try:
        if gateway.ask("answer", 5.0, officeId=office, callId=call_id)["ended"]:
            hang_up(channel)
            return
    except Refused as error:
        syslog.syslog(syslog.LOG_ERR, f"{call_id}: its answer is not known there: {error}")
        return
    except Unanswered:
        pass  # A tick stands for it.
    tick(gateway, office, call_id, channel, answered, granted)


def tick(gateway: Gateway, office: str, call_id: str, channel: str, answered: float, granted: int) -> None:
    """Ask for more time, first 10 s before it is over, then ever closer to that, until the call is over."""
    while (remaining := answered + granted - time.monotonic()) > 0.5:
        time.sleep(remaining - min(10, remaining / 2))
        used = int(time.monotonic() - answered)
        try:
            told = gateway.ask("tick", 1.0, officeId=office, callId=call_id, usedSeconds=used)
        except Unanswered:
            continue
        except Refused as error:
            syslog.syslog(syslog.LOG_ERR, f"{call_id}: it ends after {granted} s: {error}")
            return
        if told["ended"]:
            hang_up(channel)
            return
        if told["grantedSeconds"] > granted:
            granted = told["grantedSeconds"]
            left = math.ceil(answered + granted - time.monotonic())
            if not asterisk(f"dialplan set chanvar {channel} TIMEOUT(absolute) {left}"):
                return


def end(gateway: Gateway, office: str, call_id: str, cause: str, millis: int) -> None:
    """Settle the call, for as long as that takes: nobody waits for it, and it is money."""
    seconds = math.ceil(millis / 1000)
    try:
        patience = gateway.settle_seconds
        gateway.ask("end", patience, officeId=office, callId=call_id, durationSeconds=seconds, cause=cause[:128])
    except (Unanswered, Refused) as error:
        syslog.syslog(syslog.LOG_ERR, f"{call_id} of {office}: {seconds} s not settled: {error}")


def detach() -> bool:
    """Go on in a process of our own, for which Asterisk does not wait; True in that one."""
    if os.fork():
        return False
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    return True


def hang_up(channel: str) -> None:
    """End a call that has no right to go on."""
    asterisk(f"channel request hangup {channel}")


def asterisk(command: str) -> bool:
    """Run a command of Asterisk's console; whether it is there, and the channel too."""
    try:
        done = subprocess.run(  # noqa: S603  # no shell, and a channel's name has no spaces
            ["asterisk", "-rx", command],  # noqa: S607  # where it is depends on how it was installed
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "not found" not in done.stdout


def main() -> None:
    """Do what the first argument says."""
    # Sent when the channel hangs up; what was begun is finished all the same, and the hangup handler settles it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    syslog.openlog("tollgate-agi")
    agi = Agi()
    moment, office, *rest = agi.arguments()
    gateway = Gateway(**json.loads(CONFIG.read_text()))
    if moment == "authorize":
        authorize(agi, gateway, office, rest[0])
    elif moment == "answer":
        answer(agi, gateway, office, rest[0], int(rest[1]))
    elif moment == "end" and detach():
        end(gateway, office, rest[0], rest[1], int(rest[2] or 0) if len(rest) > 2 else 0)


if __name__ == "__main__":
    main()
