"""What an examination finds."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How good or bad a finding is, the worst last."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        verdict: OK; WARN: it works, and somebody should know; FAIL: calls, money or the next start are in danger.
        subject: What was looked at: settings, store, database, ...
        what: What was found.
        cure: What mends it; empty where nothing is to be mended.
    """

    verdict: Verdict
    subject: str
    what: str
    cure: str = ""

    @property
    def sentence(self) -> str:
        """What was found, and the way to mend it."""
        return f"{self.what}  -> {self.cure}" if self.cure else self.what

    def as_json(self) -> dict[str, str]:
        """The same for programs."""
        return {"verdict": self.verdict, "subject": self.subject, "what": self.what, "cure": self.cure}


class Findings(list[Finding]):
    """The findings about one subject, as they are made."""

    def __init__(self, subject: str) -> None:
        super().__init__()
        self._subject = subject

    def ok(self, what: str) -> None:
        """All is well."""
        self.append(Finding(Verdict.OK, self._subject, what))

    def warn(self, what: str, cure: str) -> None:
        """It works, and somebody should know."""
        self.append(Finding(Verdict.WARN, self._subject, what, cure))

    def fail(self, what: str, cure: str) -> None:
        """It does not work, or puts calls or money in danger."""
        self.append(Finding(Verdict.FAIL, self._subject, what, cure))

    def fail_as_told(self, error: object) -> None:
        """Something that a start refuses: each line of its error says `what; cure`."""
        for line in str(error).splitlines():
            what, _, cure = line.partition("; ")
            self.fail(what, cure)

    @property
    def are_well(self) -> bool:
        """Whether there is none to mend."""
        return all(each.verdict is Verdict.OK for each in self)


def worst_of(findings: Iterable[Finding]) -> Verdict:
    """The verdict on all of them."""
    order = list(Verdict)
    return max((each.verdict for each in findings), key=order.index, default=Verdict.OK)
