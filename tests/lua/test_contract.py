"""What the head of each script promises, held against its body, against the keys and against who calls it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import pytest

from gateway.domain.vocabulary import Reason
from gateway.store.balances import BY_CLOCK, BalanceStore, CallRequest, Lifetimes, MessageRequest
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.keys import lease_key, office_keys, outbox_key, shard_of
from gateway.store.scripts import load_library, scripts_directory
from tests.support.balances import SIXTY_SIXTY, ManualClock, Till, office_bytes

SCRIPTS: Final = tuple(sorted(scripts_directory().glob("*.lua")))

# A full store stops selling before it stops settling.
SETTLING: Final = {
    "end_call",
    "refund_message",
    "apply_credit",
    "lapse_call",
    "cut_call",
    "lease_shard",
    "trim_outbox",
}

# What grant_write takes from the KEYS that it is given whole.
KEYS_OF_GRANT_WRITE: Final = {1, 2, 3, 4}

each_script = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)


@dataclass(frozen=True)
class Argument:
    name: str
    kind: str
    text: str


@dataclass(frozen=True)
class Script:
    """A script taken apart."""

    shebang: str
    title: str
    keys: tuple[tuple[str, str, str], ...]
    """Name, kind, pattern."""
    arguments: tuple[Argument, ...]
    reply: str
    codes: str
    body: str


@cache
def parse(path: Path) -> Script:
    text = path.read_text()
    match = re.fullmatch(r"(#!lua[^\n]*)\n--\[\[\n(.*?)\n\]\]\n(.*)", text, re.DOTALL)
    assert match, "a script is #!lua, one comment block, and its body"
    shebang, head, body = match.groups()
    sections = re.fullmatch(
        r"(.*?)\n\nKEYS\n(.*?)\nARGV\n(.*?)\nRETURNS (\{.*?\})\n(.*?)\nINVARIANT  (.*)", head, re.DOTALL
    )
    assert sections, "the comment has KEYS, ARGV, RETURNS and INVARIANT, in this order"
    title, keys, arguments, reply, codes, _ = sections.groups()
    body = re.sub(r"--[^\n]*", "", body)
    return Script(
        shebang,
        title,
        tuple(numbered("KEYS", keys)),
        tuple(Argument(*entry) for entry in numbered("ARGV", arguments)),
        reply,
        codes,
        body,
    )


def numbered(table: str, lines: str) -> list[tuple[str, str, str]]:
    """The entries of a section, which are numbered from 1 without a gap; a line without a number continues one."""
    joined = re.sub(r"\n(?!  \w+\[)\s+", " ", lines)
    entries = []
    for position, line in enumerate(joined.split("\n"), start=1):
        match = re.fullmatch(rf"  {table}\[(\d+)\] +(\w+) +(\w+)(?: +(.*))?", line)
        assert match, f"not an entry of {table}: {line!r}"
        assert int(match[1]) == position
        entries.append((match[2], match[3], match[4] or ""))
    return entries


def split_top(text: str) -> list[str]:
    """Split at the commas that are in no bracket."""
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += (char in "({[") - (char in ")}]")
        if char == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part.strip() for part in (*parts, text[start:])]


def bindings(body: str) -> tuple[dict[int, str], str]:
    """What the leading `local` statements bind each ARGV to, and the body behind the last of them."""
    bound: dict[int, str] = {}
    end = 0
    for match in re.finditer(r"^local ([\w, ]+?) =((?:[^\n]|\n  )*?ARGV(?:[^\n]|\n  )*)$", body, re.MULTILINE):
        names, values = split_top(match[1]), split_top(match[2])
        assert len(names) == len(values), f"not one value a name: {match[0]}"
        for name, value in zip(names, values, strict=True):
            (number,) = re.findall(r"ARGV\[(\d+)\]", value)
            assert int(number) not in bound, f"ARGV[{number}] is bound twice"
            bound[int(number)] = name
        end = match.end()
    return bound, body[end:]


def test_there_are_scripts() -> None:
    assert {path.stem for path in SCRIPTS} >= SETTLING


@each_script
def test_the_title_names_the_script(path: Path) -> None:
    assert re.match(rf"{path.stem}: .*\.", parse(path).title, re.DOTALL)


@each_script
def test_every_key_of_the_head_is_used_and_no_other(path: Path) -> None:
    script = parse(path)
    used = {int(number) for number in re.findall(r"\bKEYS\[(\d+)\]", script.body)}
    whole = re.findall(r"(\w+\(|\S+ )?\bKEYS\b(?!\[)", script.body)
    assert set(whole) <= {"grant_write("}, "KEYS goes whole to grant_write only"
    if whole:
        used |= KEYS_OF_GRANT_WRITE
    assert used == set(range(1, len(script.keys) + 1))


@each_script
def test_every_argument_is_bound_to_a_named_local_first(path: Path) -> None:
    script = parse(path)
    bound, rest = bindings(script.body)
    assert sorted(bound) == list(range(1, len(script.arguments) + 1))
    assert "ARGV" not in rest
    for number, argument in enumerate(script.arguments, start=1):
        assert argument.name in bound[number], f"ARGV[{number}] is {argument.name}, bound to {bound[number]}"
        assert len(re.findall(rf"\b{bound[number]}\b", script.body)) > 1, f"{bound[number]} is not used"


@each_script
def test_nothing_runs_before_the_arguments_are_bound(path: Path) -> None:
    body = parse(path).body
    before = body[: body.index("ARGV")]
    assert "redis.call" not in before


@each_script
def test_the_codes_returned_are_those_of_the_head(path: Path) -> None:
    script = parse(path)
    compared = re.sub(r"[=~]= CODE\.\w+", "", script.body)
    returned = set(re.findall(r"\bCODE\.(\w+)", compared))
    if re.search(r"\{ verdict,|deny\(verdict\)|block\(verdict\)", script.body):
        (verdict,) = (argument for argument in script.arguments if argument.name == "verdict")
        returned |= set(re.findall(r"\b[A-Z_]{2,}\b", verdict.text))
    promised = {word for word in re.findall(r"\b[A-Z_]{2,}\b", script.codes) if word in Code.__members__}
    assert promised == returned
    assert returned <= set(Code.__members__)


@each_script
def test_every_reply_has_the_fields_of_the_head(path: Path) -> None:
    script = parse(path)
    needed, optional = re.fullmatch(r"\{ ([^\[\]]*?)(?: \[, ([^\]]*)\])? \}", script.reply).groups()  # type: ignore[union-attr]
    lengths = {len(split_top(needed))}
    if optional:
        lengths.add(len(split_top(needed)) + len(split_top(optional)))
    replies = re.findall(r"\breturn \{(.*?)\}(?=\s*(?:\n|end))", script.body, re.DOTALL)
    assert replies
    assert {len(split_top(reply)) for reply in replies} <= lengths
    assert max(len(split_top(reply)) for reply in replies) == max(lengths)


@each_script
def test_all_keys_have_one_hash_tag(path: Path) -> None:
    for _, _, pattern in parse(path).keys:
        assert re.findall(r"\{(.*?)\}", pattern) == ["<shard>"]


@each_script
def test_only_scripts_that_settle_run_in_a_full_store(path: Path) -> None:
    expected = "#!lua flags=allow-oom" if path.stem in SETTLING else "#!lua"
    assert parse(path).shebang == expected
    flags = re.search(rf"function_name = '{path.stem}_\w+', flags = \{{ (.*?) ?\}}", load_library().source)
    assert flags
    assert flags[1] == ("'allow-oom'" if path.stem in SETTLING else "")


@each_script
def test_no_key_is_built_inside_a_script(path: Path) -> None:
    body = parse(path).body
    for call in re.findall(r"redis\.call\((.*)", body):
        command, first, *_ = split_top(call)
        assert re.match(r"KEYS\[\d\]", first), f"{command} on {first}"


@cache
def lua_codes() -> Mapping[str, int]:
    text = (scripts_directory() / "lib" / "codes.lua").read_text()
    return {name: int(number) for name, number in re.findall(r"^  (\w+) = (\d+),$", text, re.MULTILINE)}


def test_codes_are_the_same_in_lua_and_python() -> None:
    assert dict(lua_codes()) == {code.name: code.value for code in Code}


def test_codes_1_to_15_are_the_reasons() -> None:
    assert {code.name: code.value for code in Code if 1 <= code <= 15} == {
        reason.name: reason.value for reason in Reason
    }


# Who calls them.


class Recorded(Exception):
    """Carries what a method wanted to run."""


class Recorder:
    """In place of the connection: nothing is run, since what is tested is how it is asked for."""

    async def run(self, operation: str, keys: tuple[bytes, ...], args: tuple[Any, ...]) -> Any:
        raise Recorded(operation, keys, args)


async def recorded(operation: str) -> tuple[str, tuple[bytes, ...], tuple[Any, ...]]:
    """Call the method of an operation; returns what it would run."""
    till = Till(cast("StoreConnection", Recorder()), ManualClock(), Lifetimes())
    store: BalanceStore = till.balances
    office = till.cached("o-1")
    call = CallRequest("c-1", Code.FUNDED, b"12345678", 0, 3_600, True, SIXTY_SIXTY, 120_000, "sw1", b"")
    calls = {
        "authorize_call": lambda: store.authorize_call(office, call),
        "answer_call": lambda: store.answer_call(office, "c-1"),
        "tick_call": lambda: store.tick_call(office, "c-1", BY_CLOCK),
        "hear_call": lambda: store.hear_call(office, "c-1", 1),
        "cut_call": lambda: store.cut_call(office, "c-1"),
        "end_call": lambda: store.end_call(office, "c-1", 1),
        "lapse_call": lambda: store.lapse_call(office, "c-1"),
        "authorize_message": lambda: store.authorize_message(
            office, MessageRequest("m-1", Code.FUNDED, b"12345678", 1, b"")
        ),
        "refund_message": lambda: store.refund_message(office, "m-1"),
        "apply_credit": lambda: store.apply_credit("o-1", 1, 1),
        "put_office": lambda: store.put_office("o-1", office_bytes(), refill_enabled=True, create=True),
        "restore_office": lambda: store.restore_office("o-1", b""),
        "claim_refill": lambda: store.claim_refill("o-1", 1),
        "fail_refill": lambda: store.fail_refill("o-1", 1, 1, 1),
        "judge_refill": lambda: store.judge_refill("o-1"),
        "lease_shard": lambda: store.lease_shard(lease_key(shard_of("o-1")), "gateway", 5_000),
        "trim_outbox": lambda: store.trim_outbox(shard_of("o-1"), "0-0"),
    }
    try:
        await calls[operation]()  # type: ignore[no-untyped-call]
    except Recorded as call_made:
        return cast("tuple[str, tuple[bytes, ...], tuple[Any, ...]]", call_made.args)
    raise AssertionError("nothing was run")


@each_script
async def test_the_store_passes_the_keys_of_the_head(path: Path) -> None:
    operation, keys, _ = await recorded(path.stem)
    assert operation == path.stem
    names = {"<shard>": str(shard_of("o-1")), "<office_id>": "o-1", "<call_id>": "c-1", "<message_id>": "m-1"}
    patterns = [pattern for _, _, pattern in parse(path).keys]
    for placeholder, value in names.items():
        patterns = [pattern.replace(placeholder, value) for pattern in patterns]
    assert [key.decode() for key in keys] == patterns


@each_script
async def test_the_store_passes_the_arguments_of_the_head(path: Path) -> None:
    _, _, args = await recorded(path.stem)
    expected = parse(path).arguments
    assert len(args) == len(expected)
    for value, argument in zip(args, expected, strict=True):
        assert isinstance(value, int) == (argument.kind == "int"), f"{argument.name} is {value!r}"


def test_the_key_builders_agree_on_the_shard() -> None:
    keys = office_keys("o-1")
    assert keys.outbox == outbox_key(shard_of("o-1"))
    assert all(f"{{{shard_of('o-1')}}}".encode() in key for key in keys[1:])
