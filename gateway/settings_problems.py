"""What is wrong with the settings, in lines that an operator can act on: the variable, the value, the cure."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from gateway.startup import StartupError

PREFIX = "TOLLGATE_"

HANDED_DOWN = frozenset({"TOLLGATE_READY_FD", "TOLLGATE_PARENT_FD", "TOLLGATE_NEWS_FD"})
"""Variables by which the supervisor talks to its children; they are no settings."""

OF_CLIENTS = frozenset(
    {"TOLLGATE_TOKEN", "TOLLGATE_TLS_CA", "TOLLGATE_TLS_CLIENT_CERTIFICATE", "TOLLGATE_TLS_CLIENT_KEY"}
)
"""Variables that only the commands read which ask a gateway."""

# Kubernetes puts these into every pod of a namespace that has a service called tollgate or tollgate-<something>.
_OF_KUBERNETES = re.compile(
    r"TOLLGATE(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINK_OF_KUBERNETES = re.compile(r"(tcp|udp|sctp)://.*")


class SettingsError(StartupError):
    """Settings that make no sense; the text has one line for each of `problems`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def variable_name(setting: str) -> str:
    """The environment variable of a setting: listen -> TOLLGATE_LISTEN."""
    return PREFIX + setting.upper()


def unknown_variables(environment: Mapping[str, str], fields: Iterable[str]) -> list[str]:
    """A line for each TOLLGATE_* variable that is no setting: a typing error would else go unseen."""
    known = {name.upper() for name in fields}
    problems = []
    for name in sorted(environment):
        if not name.upper().startswith(PREFIX) or name.upper() in HANDED_DOWN | OF_CLIENTS:
            continue
        # Without the prefix, which would make any two variables look alike.
        setting = name.upper().removeprefix(PREFIX)
        if setting in known:
            continue
        if _OF_KUBERNETES.fullmatch(name) or (
            name.endswith("_PORT") and _LINK_OF_KUBERNETES.fullmatch(environment[name])
        ):
            continue
        problems.append(f"{name}: there is no such setting; {_suggestion(setting, known, PREFIX)}")
    return problems


def unknown_key(where: str, key: str, fields: Iterable[str]) -> str:
    """The line for a key of the TOML file, or a flag, that is no setting."""
    return f"{where}: there is no such setting; {_suggestion(key, fields)}"


def _suggestion(name: str, known: Iterable[str], prefix: str = "") -> str:
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {prefix}{close[0]}?" if close else "docs/reference/settings.md lists them all"


def describe_problems(error: ValidationError, fields: Mapping[str, FieldInfo], sources: Mapping[str, str]) -> list[str]:
    """Put pydantic's findings into lines.

    Args:
        error: What the model raised.
        fields: The model's fields by setting name.
        sources: Where a setting's value came from, for those that did not come from their variable: `--listen`.
    """
    problems = []
    for finding in error.errors(include_url=False):
        if not finding["loc"]:
            # A rule over several settings, whose text names its variables itself, one problem a line.
            problems += str(finding["ctx"]["error"]).splitlines()
            continue
        name = str(finding["loc"][0])
        source = f" ({sources[name]})" if name in sources else ""
        if finding["type"] == "extra_forbidden":
            problems.append(unknown_key(sources.get(name, name), name, fields))
        else:
            problems.append(f"{variable_name(name)}{source}: {_reason(dict(finding), fields[name])}")
    return problems


def _reason(finding: Mapping[str, Any], field: FieldInfo) -> str:
    if finding["type"] == "value_error":
        return str(finding["ctx"]["error"])
    value = finding["input"]
    shown = repr(value) if isinstance(value, str | int | float) else f"a value of type {type(value).__name__}"
    if finding["type"] == "literal_error":
        allowed = [str(choice) for choice in get_args(field.annotation)]
        return f"{shown} is none of {', '.join(allowed)}; {_suggestion(str(value), allowed)}"
    lowest, highest = number_range(field)
    if lowest is not None:
        kind = "number" if isinstance(field.default, float) else "whole number"
        return f"{shown} is not a {kind} from {lowest} to {highest}; the default is {field.default}"
    # The value is left out: it may be a secret.
    return f"{finding['msg'][:1].lower()}{finding['msg'][1:]}; the default is {field.default}"


def number_range(field: FieldInfo) -> tuple[int | None, int | None]:
    """The least and the greatest value of a number setting, both allowed; None for other settings."""
    lowest = next((item.ge for item in field.metadata if isinstance(item, Ge)), None)
    highest = next((item.le for item in field.metadata if isinstance(item, Le)), None)
    return lowest, highest  # type: ignore[return-value]  # annotated_types knows them only as comparable
