from collections.abc import Callable

import pytest

from gateway.domain.identity import ALL_OFFICES, Identity, validate_scope
from gateway.domain.vocabulary import Role
from gateway.errors import InvalidArgument, PermissionDenied

OPERATOR = Identity(Role.OPERATOR, "t0")
COMPANY_ADMIN = Identity(Role.COMPANY_ADMIN, "t1", "c1")
OFFICE_ADMIN = Identity(Role.OFFICE_ADMIN, "t2", "c1", frozenset({"o1"}))
VIEWER = Identity(Role.VIEWER, "t3", "c1")
OFFICE_VIEWER = Identity(Role.VIEWER, "t4", "c1", frozenset({"o1"}))
SWITCH = Identity(Role.SWITCH, "t5", "", frozenset({"o1"}), "sw1")
ANY_SWITCH = Identity(Role.SWITCH, "t6", "", frozenset({ALL_OFFICES}), "sw2")
EVERYBODY = (OPERATOR, COMPANY_ADMIN, OFFICE_ADMIN, VIEWER, OFFICE_VIEWER, SWITCH, ANY_SWITCH)

Check = Callable[[Identity], None]


@pytest.mark.parametrize(
    ("check", "allowed"),
    [
        (lambda i: i.may_operate(), {OPERATOR}),
        (lambda i: i.may_read_office("o1", "c1"), {OPERATOR, COMPANY_ADMIN, OFFICE_ADMIN, VIEWER, OFFICE_VIEWER}),
        (lambda i: i.may_read_office("o2", "c1"), {OPERATOR, COMPANY_ADMIN, VIEWER}),
        (lambda i: i.may_read_office("o3", "c2"), {OPERATOR}),
        # The office went to another company: who was its admin there is so no more.
        (lambda i: i.may_read_office("o1", "c2"), {OPERATOR}),
        # There is no such office: only those learn it who were given it by name.
        (lambda i: i.may_read_office("o9", None), {OPERATOR}),
        (lambda i: i.may_read_office("o1", None), {OPERATOR, OFFICE_ADMIN, OFFICE_VIEWER}),
        (lambda i: i.may_read_office("o1", ""), {OPERATOR}),
        (lambda i: i.may_administer_office("o1", "c1"), {OPERATOR, COMPANY_ADMIN, OFFICE_ADMIN}),
        (lambda i: i.may_administer_office("o2", "c1"), {OPERATOR, COMPANY_ADMIN}),
        (lambda i: i.may_administer_office("o3", "c2"), {OPERATOR}),
        (lambda i: i.may_administer_office("o9", None), {OPERATOR}),
        (lambda i: i.may_update_office("o1", "c1", {"name"}), {OPERATOR, COMPANY_ADMIN, OFFICE_ADMIN}),
        (lambda i: i.may_update_office("o1", "c1", {"name", "tariff"}), {OPERATOR}),
        (lambda i: i.may_update_office("o1", "c1", {"credit_limit_micros"}), {OPERATOR}),
        (lambda i: i.may_update_office("o1", "c1", set()), {OPERATOR, COMPANY_ADMIN, OFFICE_ADMIN}),
        (lambda i: i.may_read_company("c1"), {OPERATOR, COMPANY_ADMIN, OFFICE_ADMIN, VIEWER, OFFICE_VIEWER}),
        (lambda i: i.may_read_company("c2"), {OPERATOR}),
        (lambda i: i.may_read_company(""), {OPERATOR}),
        (lambda i: i.may_use_credits(), {OPERATOR, COMPANY_ADMIN, OFFICE_ADMIN, VIEWER, OFFICE_VIEWER}),
        (lambda i: i.may_use_office_as_switch("o1"), {OPERATOR, SWITCH, ANY_SWITCH}),
        (lambda i: i.may_use_office_as_switch("o2"), {OPERATOR, ANY_SWITCH}),
        (lambda i: i.may_use_office_as_switch(ALL_OFFICES), {OPERATOR, ANY_SWITCH}),
        (lambda i: i.may_use_call_as_switch("o1", "sw1"), {OPERATOR, SWITCH}),
        (lambda i: i.may_use_call_as_switch("o1", "sw2"), {OPERATOR, ANY_SWITCH}),
        (lambda i: i.may_use_call_as_switch("o2", "sw1"), {OPERATOR}),
        (lambda i: i.may_use_call_as_switch("o1", ""), {OPERATOR}),
    ],
)
def test_who_may_do_what(check: Check, allowed: set[Identity]) -> None:
    for identity in EVERYBODY:
        if identity in allowed:
            check(identity)
        else:
            with pytest.raises(PermissionDenied):
                check(identity)


def test_every_refusal_reads_the_same() -> None:
    refusals: list[Check] = [
        lambda i: i.may_operate(),
        lambda i: i.may_read_office("o1", None),
        lambda i: i.may_read_office("o1", "c2"),
        lambda i: i.may_administer_office("o1", "c1"),
        lambda i: i.may_read_company("c2"),
    ]
    seen = set()
    for refusal in refusals:
        with pytest.raises(PermissionDenied) as caught:
            refusal(SWITCH)
        seen.add((str(caught.value), caught.value.code, caught.value.reason, caught.value.field))
        assert caught.value.metadata == {}
    assert len(seen) == 1


def test_a_bearer_without_a_company_has_none() -> None:
    nobody = Identity(Role.COMPANY_ADMIN, "t9")
    with pytest.raises(PermissionDenied):
        nobody.may_read_office("o1", "")
    with pytest.raises(PermissionDenied):
        nobody.readable_company_id()


@pytest.mark.parametrize(
    ("identity", "company_id", "office_ids"),
    [
        (OPERATOR, None, None),
        (COMPANY_ADMIN, "c1", None),
        (OFFICE_ADMIN, "c1", {"o1"}),
        (VIEWER, "c1", None),
        (OFFICE_VIEWER, "c1", {"o1"}),
    ],
)
def test_what_lists_are_filtered_by(identity: Identity, company_id: str | None, office_ids: set[str] | None) -> None:
    assert identity.readable_company_id() == company_id
    assert identity.readable_office_ids() == office_ids


def test_a_switch_lists_nothing() -> None:
    with pytest.raises(PermissionDenied):
        SWITCH.readable_company_id()
    with pytest.raises(PermissionDenied):
        ANY_SWITCH.readable_office_ids()


@pytest.mark.parametrize(
    ("role", "company_id", "office_ids", "switch_id"),
    [
        (Role.OPERATOR, "", [], ""),
        (Role.COMPANY_ADMIN, "c1", [], ""),
        (Role.OFFICE_ADMIN, "c1", ["o1", "o2"], ""),
        (Role.VIEWER, "c1", [], ""),
        (Role.VIEWER, "c1", ["o1"], ""),
        (Role.SWITCH, "", ["o1"], "sw1"),
        (Role.SWITCH, "", [ALL_OFFICES], "sw1"),
    ],
)
def test_scopes_that_fit_their_role(role: Role, company_id: str, office_ids: list[str], switch_id: str) -> None:
    validate_scope(role, company_id, office_ids, switch_id)


@pytest.mark.parametrize(
    ("role", "company_id", "office_ids", "switch_id", "field"),
    [
        (Role.OPERATOR, "c1", [], "", "company_id"),
        (Role.OPERATOR, "", ["o1"], "", "office_ids"),
        (Role.OPERATOR, "", [], "sw1", "switch_id"),
        (Role.COMPANY_ADMIN, "", [], "", "company_id"),
        (Role.COMPANY_ADMIN, "c1", ["o1"], "", "office_ids"),
        (Role.COMPANY_ADMIN, "c1", [], "sw1", "switch_id"),
        (Role.OFFICE_ADMIN, "", ["o1"], "", "company_id"),
        (Role.OFFICE_ADMIN, "c1", [], "", "office_ids"),
        (Role.OFFICE_ADMIN, "c1", [ALL_OFFICES], "", "office_ids"),
        (Role.VIEWER, "", [], "", "company_id"),
        (Role.VIEWER, "c1", [ALL_OFFICES], "", "office_ids"),
        (Role.VIEWER, "c1", [], "sw1", "switch_id"),
        (Role.SWITCH, "", [], "sw1", "office_ids"),
        (Role.SWITCH, "", ["o1"], "", "switch_id"),
        (Role.SWITCH, "c1", ["o1"], "sw1", "company_id"),
        (Role.SWITCH, "", ["o1", ALL_OFFICES], "sw1", "office_ids"),
    ],
)
def test_scopes_that_do_not(role: Role, company_id: str, office_ids: list[str], switch_id: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        validate_scope(role, company_id, office_ids, switch_id)
    assert caught.value.field == field
