import json
import random
import zlib

import pytest

from gateway.domain.deck import (
    COLUMNS,
    CallQuery,
    Deck,
    DeckError,
    DeckFormatError,
    LineError,
    MessageQuery,
    MessageRateRow,
    RateRow,
    parse_deck,
    parse_deck_in_slices,
)
from gateway.domain.deck.cells import TIME_COLUMNS
from gateway.domain.deck.errors import MAX_LISTED_ERRORS
from gateway.domain.numbers import NumberInfo, NumberType, classify
from gateway.domain.rate import MessageRate, Rate, Slot
from gateway.domain.vocabulary import Direction, License, MessageKind, Service

HEADER = ",".join(COLUMNS)
VALID = ",VOICE,OUTBOUND,,,44,,0,0.05,60,60,0,60,Britain"


def deck(*lines: str) -> Deck:
    return parse_deck("\n".join([HEADER, *lines]))


def errors(*lines: str) -> list[tuple[int, str]]:
    """Return the lines and columns of what is wrong with a deck of these lines after the header."""
    with pytest.raises(DeckError) as caught:
        deck(*lines)
    assert caught.value.count == len(caught.value.errors)
    return [(error.line, error.column) for error in caught.value.errors]


def call(
    called: str,
    *,
    tariff: str = "",
    service: Service = Service.VOICE,
    direction: Direction = Direction.OUTBOUND,
    license_: License = License.STANDARD,
    origin: str = "US",
) -> CallQuery:
    return CallQuery(tariff, service, direction, license_, origin, classify(called, origin))


def description_of(row: RateRow | MessageRateRow | None) -> str | None:
    return None if row is None else row.description


# What a deck says


def test_a_row_is_one_rate_with_all_its_columns() -> None:
    row = deck("gold,VOICE,OUTBOUND,SALES,US,44,MOBILE,0,0.05,60,30,0.2,10,Britain").lookup_call(
        call("+447400123456", tariff="gold", license_=License.SALES)
    )
    assert row is not None
    assert row.rate == Rate(200_000, (Slot(0, 50_000, 60, 30),), tick_seconds=10)
    assert (row.row_id, row.prefix, row.description) == (2, "44", "Britain")
    assert row.scope.conditions() == {
        "tariff": "gold",
        "license": "SALES",
        "number_type": "MOBILE",
        "origin": "US",
        "direction": "OUTBOUND",
    }


def test_rows_of_one_key_are_the_slots_of_one_rate_wherever_they_stand() -> None:
    loaded = deck(
        ",VOICE,OUTBOUND,,,44,,60,0.05,60,1,,,",
        ",VOICE,OUTBOUND,,,49,,0,0.07,60,60,,,Germany",
        ",VOICE,OUTBOUND,,,44,,0,0.1,60,60,0.2,30,Britain",
        ",VOICE,OUTBOUND,,,44,,600,0.01,60,1,0.2,30,",
    )
    row = loaded.lookup_call(call("+442079460000"))
    assert row is not None
    assert row.rate == Rate(200_000, (Slot(0, 100_000, 60, 60), Slot(60, 50_000, 60, 1), Slot(600, 10_000, 60, 1)), 30)
    assert (row.row_id, row.description) == (2, "Britain")
    assert len(loaded) == 2


@pytest.mark.parametrize(
    "line",
    [
        ",VOICE,OUTBOUND,,,44,,0,0,60,60,0,60,",
        ",VOICE,OUTBOUND,,,44,,,0.00,60,60,,,",
        ",VOICE,OUTBOUND,,,44,,,,,,,,",
        ",voice,outbound,,us,44,,0,0,60,60,0,60,",
        " , VOICE , OUTBOUND ,, US , 44 ,, 0 , 0 , 60 , 60 , 0 , 60 ,",
        '"",VOICE,"OUTBOUND",,,"44",,0,"0",60,60,0,60,"said ""free"", and is"',
    ],
)
def test_free_is_a_row_with_neither_price_nor_fee(line: str) -> None:
    row = deck(line).lookup_call(call("+442079460000"))
    assert row is not None
    assert row.rate.is_free


def test_a_message_is_priced_per_segment() -> None:
    loaded = deck(",SMS,,,US,,,,0.0085,,,,,US SMS", ",MMS,OUTBOUND,STANDARD,US,1,LOCAL,,0.02,,,,,US MMS")
    sms = loaded.lookup_message(MessageQuery("", MessageKind.SMS, "US", classify("+14155550100", "US")))
    mms = loaded.lookup_message(MessageQuery("any", MessageKind.MMS, "US", classify("+14155550100", "US")))
    assert sms is not None
    assert sms.rate == MessageRate(8_500)
    assert description_of(mms) == "US MMS"
    assert loaded.lookup_message(MessageQuery("", MessageKind.MMS, "US", classify("+14165550100", "US"))) is None
    # The enums of services and message kinds share their numbers; the rows must not be mistaken for each other.
    assert loaded.lookup_call(call("+14155550100")) is None
    assert loaded.lookup_call(call("+14155550100", service=Service.FAX)) is None


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_reads_what_spreadsheets_write(newline: str, mark: str) -> None:
    text = mark + newline.join([HEADER, "", VALID, "   ", ""])
    for data in (text, text.encode()):
        assert description_of(parse_deck(data).lookup_call(call("+442079460000"))) == "Britain"


def test_columns_may_stand_in_any_order() -> None:
    order = list(reversed(range(len(COLUMNS))))
    cells = VALID.split(",")
    text = "\n".join(",".join(line[place] for place in order) for line in (COLUMNS, cells))
    assert description_of(parse_deck(text).lookup_call(call("+442079460000"))) == "Britain"


# Which row wins


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        # A longer prefix wins whatever the other names.
        (",VOICE,,,,447,", "gold,VOICE,OUTBOUND,SALES,US,44,MOBILE"),
        (",VOICE,,,,4,", "gold,VOICE,OUTBOUND,SALES,US,,MOBILE"),
        ("gold,VOICE,,,,44,", ",VOICE,OUTBOUND,SALES,US,44,MOBILE"),
        (",VOICE,,SALES,,44,", ",VOICE,OUTBOUND,,US,44,MOBILE"),
        (",VOICE,,,,44,MOBILE", ",VOICE,OUTBOUND,,US,44,"),
        (",VOICE,,,US,44,", ",VOICE,OUTBOUND,,,44,"),
        (",VOICE,OUTBOUND,,,44,", ",VOICE,,,,44,"),
    ],
)
def test_the_more_telling_row_wins_in_whichever_order_they_stand(better: str, worse: str) -> None:
    rows = [f"{better},0,0.1,60,60,0,60,better", f"{worse},0,0.1,60,60,0,60,worse"]
    for lines in (rows, rows[::-1]):
        row = deck(*lines).lookup_call(call("+447400123456", tariff="gold", license_=License.SALES))
        assert description_of(row) == "better"


@pytest.mark.parametrize(
    ("key", "query"),
    [
        ("gold,VOICE,,,,,", call("+447400123456", tariff="silver")),
        ("gold,VOICE,,,,,", call("+447400123456")),
        (",FAX,,,,,", call("+447400123456")),
        (",VOICE,,,,,", call("+447400123456", service=Service.FAX)),
        (",VOICE,INBOUND,,,,", call("+447400123456")),
        (",VOICE,,SALES,,,", call("+447400123456")),
        (",VOICE,,,GB,,", call("+447400123456")),
        (",VOICE,,,,45,", call("+447400123456")),
        (",VOICE,,,,447400123456,", call("+44740012345")),
        (",VOICE,,,,,LOCAL", call("+447400123456")),
        (",VOICE,,,,,FIXED_LINE", call("+447400123456")),
        # By region, not by calling code; and a foreign toll-free number is not free to call.
        (",VOICE,,,,,LOCAL", call("+18765230123")),
        (",VOICE,,,,,LOCAL", call("+19002345678")),
        (",VOICE,,,,,LOCAL", call("+18005550100")),
        (",VOICE,,,,,TOLL_FREE", call("+448001111111")),
        (",VOICE,,,,,TOLL_FREE", call("+80012345678")),
        (",VOICE,,,,,MOBILE", call("+14155550100")),
    ],
)
def test_a_row_that_does_not_fit_prices_nothing(key: str, query: CallQuery) -> None:
    assert deck(f"{key},0,0.1,60,60,0,60,").lookup_call(query) is None


@pytest.mark.parametrize(
    ("key", "query"),
    [
        (",VOICE,,,,,", call("+447400123456", tariff="silver")),
        (",VOICE,,,,,LOCAL", call("+14155550100")),
        (",VOICE,,,,,FIXED_LINE", call("+14155550100")),
        (",VOICE,,,,,TOLL_FREE", call("+18005550100")),
        (",VOICE,,,CA,,TOLL_FREE", call("+18005550100", origin="CA")),
        (",VOICE,INBOUND,,,,TOLL_FREE", call("+448001111111", direction=Direction.INBOUND)),
        (",VOICE,INBOUND,,US,1800,", call("+18005550100", direction=Direction.INBOUND)),
        (",VOICE,,,,,PREMIUM_RATE", call("+19002345678")),
        (",VOICE,,,,447400123456,", call("+447400123456")),
        (",VOICE,,,,8,", call("+80012345678")),
    ],
)
def test_a_row_that_fits_prices_the_call(key: str, query: CallQuery) -> None:
    assert deck(f"{key},0,0.1,60,60,0,60,").lookup_call(query) is not None


def test_of_two_types_of_one_number_the_one_that_says_more_wins() -> None:
    rows = [",VOICE,,,,,LOCAL,0,0.1,60,60,0,60,local", ",VOICE,,,,,MOBILE,0,0.1,60,60,0,60,mobile"]
    query = call("+447400123456", origin="GB")
    assert description_of(deck(*rows).lookup_call(query)) == "mobile"
    # But naming the origin counts for more than which of the types is named.
    assert description_of(deck(rows[1], rows[0].replace(",,,,,LOCAL", ",,,GB,,LOCAL")).lookup_call(query)) == "local"


def test_lookup_is_that_of_the_definition() -> None:
    """Every row is tried by the rules as they are written, for random decks and random calls."""
    source = random.Random(3)
    for _ in range(30):
        keys = {
            (
                source.choice(["", "gold"]),
                source.choice(["", "INBOUND", "OUTBOUND"]),
                source.choice(["", "SALES"]),
                source.choice(["", "US", "GB"]),
                "44740012"[: source.randint(0, 8)],
                source.choice(["", "MOBILE", "LOCAL"]),
            )
            for _ in range(40)
        }
        loaded = deck(*(f"{t},VOICE,{d},{li},{o},{p},{n},0,0.1,60,60,0,60," for t, d, li, o, p, n in keys))
        for _ in range(40):
            query = CallQuery(
                source.choice(["", "gold", "silver"]),
                Service.VOICE,
                source.choice(list(Direction)),
                source.choice(list(License)),
                origin := source.choice(["US", "GB", "FR"]),
                classify("+44740012" + source.choice(["3456", "9999"]), origin),
            )
            row = loaded.lookup_call(query)
            assert (None if row is None else rank(row, query)) == best_rank(list(loaded.rows()), query)


def rank(row: RateRow | MessageRateRow, query: CallQuery) -> tuple[int, ...] | None:
    """Return how well a row fits, None if it does not."""
    scope = row.scope
    types = query.called.types(query.direction)
    fits = (
        scope.tariff in ("", query.tariff)
        and scope.license in (None, query.license)
        and (scope.number_type is None or scope.number_type in types)
        and scope.origin in ("", query.origin)
        and scope.direction in (None, query.direction)
        and query.called.e164[1:].startswith(row.prefix)
    )
    if not fits:
        return None
    named = (scope.tariff, scope.license, scope.number_type, scope.origin, scope.direction)
    type_rank = -types.index(scope.number_type) if scope.number_type else 0
    return (len(row.prefix), *(int(bool(cell)) for cell in named), type_rank)


def best_rank(rows: list[RateRow | MessageRateRow], query: CallQuery) -> tuple[int, ...] | None:
    ranks = [found for row in rows if (found := rank(row, query)) is not None]
    return max(ranks, default=None)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (VALID, "row 2 (Britain): VOICE matched by prefix 44, direction OUTBOUND; 0.05 per 60 s by 60 s"),
        (",VOICE,,,,,,,,,,,,", "row 2: VOICE matched by any number; free"),
        (
            "gold,VOICE,,SALES,US,4,MOBILE,0,0.0125,1,6,0.2,60,",
            "row 2: VOICE matched by prefix 4, tariff gold, license SALES, number_type MOBILE, origin US; "
            "0.20 to connect, 0.0125 per 1 s by 6 s",
        ),
    ],
)
def test_a_row_explains_itself(line: str, text: str) -> None:
    row = deck(line).lookup_call(call("+447400123456", tariff="gold", license_=License.SALES))
    assert row is not None
    assert row.explain() == text


def test_a_message_row_explains_itself() -> None:
    row = deck(",SMS,,,US,,,,0.0085,,,,,US").lookup_message(
        MessageQuery("", MessageKind.SMS, "US", classify("+14155550100", "US"))
    )
    assert row is not None
    assert row.explain() == "row 2 (US): SMS matched by origin US; 0.0085 per segment"


# What is refused


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        (",,OUTBOUND,,,44,,0,0.05,60,60,0,60,", ["service"]),
        (",FACSIMILE,OUTBOUND,,,44,,0,0.05,60,60,0,60,", ["service"]),
        (",VOICE,SIDEWAYS,,,44,,0,0.05,60,60,0,60,", ["direction"]),
        (",VOICE,OUTBOUND,FREE,,44,,0,0.05,60,60,0,60,", ["license"]),
        (",VOICE,OUTBOUND,,USA,44,,0,0.05,60,60,0,60,", ["origin"]),
        (",VOICE,OUTBOUND,,XX,44,,0,0.05,60,60,0,60,", ["origin"]),
        (",VOICE,OUTBOUND,,001,44,,0,0.05,60,60,0,60,", ["origin"]),
        ("a tariff,VOICE,OUTBOUND,,,44,,0,0.05,60,60,0,60,", ["tariff"]),
        (f"{'t' * 65},VOICE,OUTBOUND,,,44,,0,0.05,60,60,0,60,", ["tariff"]),
        (",VOICE,OUTBOUND,,,+44,,0,0.05,60,60,0,60,", ["prefix"]),
        (",VOICE,OUTBOUND,,,0044,,0,0.05,60,60,0,60,", ["prefix"]),
        (",VOICE,OUTBOUND,,,44x,,0,0.05,60,60,0,60,", ["prefix"]),
        (",VOICE,OUTBOUND,,,4 4,,0,0.05,60,60,0,60,", ["prefix"]),
        (",VOICE,OUTBOUND,,,٤٤,,0,0.05,60,60,0,60,", ["prefix"]),
        (f",VOICE,OUTBOUND,,,{'4' * 16},,0,0.05,60,60,0,60,", ["prefix"]),
        (",VOICE,OUTBOUND,,,44,CELL,0,0.05,60,60,0,60,", ["number_type"]),
        (",VOICE,OUTBOUND,,,44,UNKNOWN,0,0.05,60,60,0,60,", ["number_type"]),
        (",VOICE,OUTBOUND,,,44,,x,0.05,60,60,0,60,", ["from_second"]),
        (",VOICE,OUTBOUND,,,44,,-1,0.05,60,60,0,60,", ["from_second"]),
        (",VOICE,OUTBOUND,,,44,,60,0.05,60,60,0,60,", ["from_second"]),
        (",VOICE,OUTBOUND,,,44,,90000,0.05,60,60,0,60,", ["from_second"]),
        (",VOICE,OUTBOUND,,,44,,0,,60,60,0,60,", ["price"]),
        (",VOICE,OUTBOUND,,,44,,0,abc,60,60,0,60,", ["price"]),
        (",VOICE,OUTBOUND,,,44,,0,-0.05,60,60,0,60,", ["price"]),
        (",VOICE,OUTBOUND,,,44,,0,$0.05,60,60,0,60,", ["price"]),
        (",VOICE,OUTBOUND,,,44,,0,0.0000001,60,60,0,60,", ["price"]),
        (",VOICE,OUTBOUND,,,44,,0,1000.000001,60,60,0,60,", ["price"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,,60,0,60,", ["per_seconds"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,0,60,0,60,", ["per_seconds"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,7,60,0,60,", ["per_seconds"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60.0,60,0,60,", ["per_seconds"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60,,0,60,", ["increment_seconds"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60,0,0,60,", ["increment_seconds"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60,86401,0,60,", ["increment_seconds"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60,9999999999,0,60,", ["increment_seconds"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60,60,x,60,", ["connect_fee"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60,60,1001,60,", ["connect_fee"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60,60,0,0,", ["tick_seconds"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60,60,0,3601,", ["tick_seconds"]),
        (f",VOICE,OUTBOUND,,,44,,0,0.05,60,60,0,60,{'x' * 201}", ["description"]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60,60,0,60,a\x07bell", ["description"]),
        (",SMS,INBOUND,,US,,,,0.01,,,,,", ["direction"]),
        (",SMS,,SALES,US,,,,0.01,,,,,", ["license"]),
        (",SMS,,,US,,,,,,,,,", ["price"]),
        (",SMS,,,US,,,0,0.01,60,60,0,60,", sorted(TIME_COLUMNS)),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60,60,0,60", [""]),
        (",VOICE,OUTBOUND,,,44,,0,0.05,60,60,0,60,Bonn, Germany", [""]),
        (',VOICE,OUTBOUND,,,44,,0,0.05,60,60,0,60,"left open', [""]),
        ("x" * 2_001, [""]),
        ("no rate at all", [""]),
        ("gold!,CHAT,UP,VIP,QQ,+1,CELL,x,y,z,60,w,v,", sorted(set(COLUMNS) - {"increment_seconds", "description"})),
    ],
)  # fmt: skip
def test_every_cell_at_fault_is_named_with_its_line(line: str, columns: list[str]) -> None:
    assert errors(VALID.replace(",44,", ",49,"), line) == [(3, column) for column in columns]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([VALID, VALID], [(3, "")]),
        ([VALID, VALID.replace("0.05", "0.06"), VALID], [(3, ""), (4, "")]),
        ([",SMS,,,US,,,,0.01,,,,,", ",SMS,,,us,,,,0.02,,,,,"], [(3, "")]),
        # A fee or a tick that differs from the first slot's.
        ([VALID, ",VOICE,OUTBOUND,,,44,,60,0.05,60,60,0.1,60,"], [(3, "connect_fee")]),
        ([VALID, ",VOICE,OUTBOUND,,,44,,60,0.05,60,60,,30,"], [(3, "tick_seconds")]),
        # Slots that do not fit each other.
        ([VALID, ",VOICE,OUTBOUND,,,44,,90,0.05,60,60,,,"], [(2, "increment_seconds")]),
        ([f",VOICE,OUTBOUND,,,44,,{n * 60},0.05,60,60,,," for n in range(9)], [(10, "from_second")]),
        # What follows from a fault is not reported again.
        ([",VOICE,OUTBOUND,,,44,,0,x,60,60,,,", ",VOICE,OUTBOUND,,,44,,60,0.05,60,60,,,"], [(2, "price")]),
        # But faults of other rates are.
        ([",VOICE,,,,44,,60,0.05,60,60,,,", ",VOICE,,,,49,,0,-1,60,60,,,"], [(2, "from_second"), (3, "price")]),
        ([], [(1, "")]),
    ],
)  # fmt: skip
def test_lines_that_contradict_each_other_are_named(lines: list[str], expected: list[tuple[int, str]]) -> None:
    assert errors(*lines) == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        "a,b,c",
        HEADER.replace("tariff,", ""),
        HEADER + ",colour",
        HEADER + ",tariff",
        HEADER.replace(",", ";"),
        HEADER.replace("price", "rate"),
        VALID,
        '"' + HEADER,
    ],
)
def test_a_header_that_is_not_understood_is_all_that_is_reported(header: str) -> None:
    with pytest.raises(DeckError) as caught:
        parse_deck(f"{header}\nnonsense")
    assert {error.line for error in caught.value.errors} == {1}


def test_bytes_that_are_no_text_are_reported_with_their_line() -> None:
    with pytest.raises(DeckError, match="line 3: byte 0xe9 is not UTF-8"):
        parse_deck(f"{HEADER}\n{VALID}\n".encode() + b"caf\xe9")


def test_the_first_hundred_faults_are_listed_and_all_are_counted() -> None:
    with pytest.raises(DeckError, match="and 150 more") as caught:
        deck(*[VALID.replace("0.05", "x")] * 250)
    assert caught.value.count == 250
    assert len(caught.value.errors) == MAX_LISTED_ERRORS
    assert caught.value.errors[0] == LineError(2, "price", "'x' is not a decimal amount such as 0.012")
    assert str(caught.value).startswith("line 2, price: 'x' is not a decimal")


# How it is carried


def big_deck(rows: int = 5_000) -> str:
    return "\n".join(
        [HEADER, *(f",VOICE,OUTBOUND,,,{n + 100_000},,0,0.{n % 97:02},60,60,,,to {n}" for n in range(rows))]
    )


def test_reads_back_what_it_wrote() -> None:
    lines = [
        VALID,
        ",VOICE,OUTBOUND,,,44,,60,0.01,60,1,,,",
        "gold,FAX,INBOUND,SALES,US,1,LOCAL,,,,,,,",
        ",SMS,,,,,,,0.01,,,,,",
    ]
    loaded = deck(*lines).with_version(7)
    again = Deck.from_bytes(loaded.to_bytes())
    assert again.version == 7
    assert list(again.rows()) == list(loaded.rows())
    assert len(again) == len(loaded) == 3


def test_is_read_and_loaded_in_slices() -> None:
    text = big_deck()
    assert sum(1 for _ in parse_deck_in_slices(text)) >= 10
    data = parse_deck(text, version=3).to_bytes()
    assert list(Deck.load(data)) == [1_000, 2_000, 3_000, 4_000, 5_000]
    query = call("+1023455550100")._replace(called=NumberInfo("+1023455550100", "US", NumberType.UNKNOWN, False))
    assert description_of(Deck.from_bytes(data).lookup_call(query)) == "to 2345"
    assert len(data) < len(text) / 4


def test_a_row_is_one_object_however_often_it_is_found() -> None:
    loaded = deck(VALID)
    assert loaded.lookup_call(call("+442079460000")) is loaded.lookup_call(call("+447400123456"))


def torn(data: bytes) -> list[bytes]:
    header, blocks = data.split(b"\n", 1)
    bomb = zlib.compress(b" " * (64 << 20))
    return [
        b"",
        b"{}\n",
        b"not json\n",
        header,
        header.replace(b'"format": 1', b'"format": 2') + b"\n" + blocks,
        header.replace(b'"rows": 1', b'"rows": 2') + b"\n" + blocks,
        header + b"\n",
        data[:-1],
        data + b"\0",
        data[:-10] + bytes([data[-10] ^ 1]) + data[-9:],
        header + b"\n" + len(bomb).to_bytes(4, "little") + bomb,
        *(
            header + b"\n" + len(block).to_bytes(4, "little") + block
            for content in (b"[]", b"{", b'{"scopes":[],"rates":[],"rows":[[1,0,"44",0,""]]}', b'{"scopes":[["CHAT"]]}')
            for block in [zlib.compress(content)]
        ),
    ]


@pytest.mark.parametrize("data", torn(deck(VALID).to_bytes()))
def test_bytes_that_are_no_whole_deck_are_refused(data: bytes) -> None:
    with pytest.raises(DeckFormatError):
        Deck.from_bytes(data)


def test_the_header_of_the_bytes_is_json() -> None:
    header = json.loads(deck(VALID).with_version(4).to_bytes().split(b"\n", 1)[0])
    assert header == {"format": 1, "version": 4, "rows": 1}
