"""AVPs and messages: reading them with every check, and building them. The only user of the library's codec."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from diameter.message import Avp, Message, MessageHeader
from diameter.message.avp import AvpGrouped
from diameter.message.avp.errors import AvpDecodeError

from gateway.diameter.codes import AvpKey, Command, ResultCode
from gateway.diameter.refusal import Refused


class Avps:
    """The AVPs of a message or of a group, read by key.

    What is not there is None; what is there and makes no sense is Refused, with the AVP at fault.
    """

    def __init__(self, avps: Sequence[Any]) -> None:
        self._avps = avps

    def all(self, key: AvpKey) -> list[Any]:
        """Every AVP of this kind, as it came."""
        return [avp for avp in self._avps if (avp.code, avp.vendor_id) == key]

    def one(self, key: AvpKey) -> Any | None:
        """The only AVP of this kind; the same once more, as Kamailio sends its Origin-Realm, is no second one.

        Raises:
            Refused: There are several.
        """
        found = self.all(key)
        if any(other.payload != found[0].payload for other in found[1:]):
            raise Refused(ResultCode.AVP_OCCURS_TOO_MANY_TIMES, f"{found[0].name} occurs twice", found[1:2])
        return found[0] if found else None

    def unsigned(self, key: AvpKey) -> int | None:
        """An Unsigned32, Unsigned64 or Enumerated."""
        avp = self.one(key)
        return None if avp is None else _unsigned(avp)

    def unsigneds(self, key: AvpKey) -> list[int]:
        """All of a kind that may occur several times."""
        return [_unsigned(avp) for avp in self.all(key)]

    def text(self, key: AvpKey) -> str | None:
        """A UTF8String or DiameterIdentity."""
        avp = self.one(key)
        return None if avp is None else _text(avp)

    def texts(self, key: AvpKey) -> list[str]:
        """All of a kind that may occur several times."""
        return [_text(avp) for avp in self.all(key)]

    def group(self, key: AvpKey) -> "Avps | None":
        """A Grouped AVP."""
        avp = self.one(key)
        return None if avp is None else _group(avp)

    def groups(self, key: AvpKey) -> list["Avps"]:
        """All of a kind that may occur several times."""
        return [_group(avp) for avp in self.all(key)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._avps)


class Incoming:
    """A message that was received.

    Attributes:
        data: All of it.
        header: As the library reads it.
        avps: What it says.
    """

    def __init__(self, data: bytes, header: Any, avps: Avps) -> None:
        self.data = data
        self.header = header
        self.avps = avps

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a message that is whole.

        Raises:
            Refused: Its AVPs do not fill it as they say.
        """
        try:
            # `plain_msg` leaves groups unread until they are asked for: what nobody asks for cannot be wrong.
            return cls(data, MessageHeader.from_bytes(data), Avps(Message.from_bytes(data, plain_msg=True).avps))
        except Exception as error:  # The library has no error of its own for this.
            raise Refused(ResultCode.INVALID_AVP_LENGTH, f"the AVPs cannot be told apart: {error}") from None

    @property
    def is_request(self) -> bool:
        """Whether an answer is wanted."""
        return bool(self.header.is_request)

    @property
    def command(self) -> int:
        """The command code."""
        return int(self.header.command_code)

    @property
    def application(self) -> int:
        """The application that it is for."""
        return int(self.header.application_id)


def answer_bytes(data: bytes, avps: Iterable[Any], *, is_error: bool = False) -> bytes:
    """Encode the answer to a request, of which the header is enough."""
    header = MessageHeader.from_bytes(data)
    answer = MessageHeader(
        command_code=header.command_code,
        application_id=header.application_id,
        hop_by_hop_identifier=header.hop_by_hop_identifier,
        end_to_end_identifier=header.end_to_end_identifier,
    )
    answer.is_proxyable = header.is_proxyable
    answer.is_error = is_error
    return bytes(Message(answer, list(avps)).as_bytes())


def request_bytes(command: Command, sequence: int, avps: Iterable[Any]) -> bytes:
    """Encode a request of our own on the connection's behalf."""
    header = MessageHeader(command_code=command, hop_by_hop_identifier=sequence, end_to_end_identifier=sequence)
    header.is_request = True
    return bytes(Message(header, list(avps)).as_bytes())


def avp(key: AvpKey, value: object = None) -> Any:
    """Make an AVP; without a value it is an example of one that is missing."""
    return Avp.new(key.code, key.vendor, value=value)


def group(key: AvpKey, avps: Iterable[Any]) -> Any:
    """Make a Grouped AVP."""
    return Avp.new(key.code, key.vendor, value=list(avps))


def missing(key: AvpKey, why: str = "") -> Refused:
    """The refusal of a request that lacks an AVP."""
    example = avp(key)
    return Refused(ResultCode.MISSING_AVP, f"{example.name} is missing{why and ': ' + why}", [example])


def invalid(avp: Any, why: str) -> Refused:
    """The refusal of an AVP's value."""
    return Refused(ResultCode.INVALID_AVP_VALUE, f"{avp.name} {why}", [avp])


def _value(avp: Any) -> Any:
    try:
        return avp.value
    except (AvpDecodeError, ValueError) as error:
        raise Refused(ResultCode.INVALID_AVP_LENGTH, str(error)[:200], [_empty(avp)]) from None


def _unsigned(avp: Any) -> int:
    value = _value(avp)
    if not isinstance(value, int) or value < 0:
        raise invalid(avp, "is not a number of 0 or more")
    return value


def _text(avp: Any) -> str:
    value = _value(avp)
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise invalid(avp, "is not UTF-8") from None
    if not isinstance(value, str):
        raise invalid(avp, "is not text")
    return value


def _group(avp: Any) -> Avps:
    value = _value(avp)
    if not isinstance(avp, AvpGrouped) or not isinstance(value, list):
        raise invalid(avp, "is no group of AVPs")
    return Avps(value)


def _empty(avp: Any) -> Any:
    """The AVP's header with no data, as Failed-AVP has an AVP whose length is wrong (RFC 6733, section 7.1.5)."""
    return Avp(avp.code, avp.vendor_id, b"", avp.flags)
