"""The OpenAPI document says what the contract and the routes say."""

import json
from collections.abc import Iterator
from typing import Any

from gateway.api.switch_limits import SwitchLimits
from gateway.hooks.operations import Hooks
from tools.make_openapi import HOOKS, TARGET, render

DOCUMENT = json.loads(TARGET.read_text())


def test_it_is_fresh() -> None:
    assert TARGET.read_text() == render(), "run: python -m tools.make_openapi"


def test_it_has_every_hook() -> None:
    hooks = Hooks(_Anything(), _Anything(), _Anything(), SwitchLimits(_Anything(), 0), max_in_flight=1)  # type: ignore[arg-type]
    assert set(DOCUMENT["paths"]) == set(hooks.by_path)
    for path, hook in hooks.by_path.items():
        name, [request, *_], _ = HOOKS[path]
        assert (hook.name, hook.kind.DESCRIPTOR.name) == (name, request)


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    found = {reference.removeprefix("#/components/schemas/") for reference in references(DOCUMENT)}
    assert found == set(schemas)


def test_a_request_names_what_it_needs() -> None:
    request = DOCUMENT["components"]["schemas"]["AuthorizeCallRequest"]
    assert request["required"] == ["officeId", "callId", "direction", "calledNumber"]
    assert "E.164" in request["properties"]["calledNumber"]["description"]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "$ref":
                yield part
            else:
                yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


class _Anything:
    def __getattr__(self, name: str) -> None:
        return None
