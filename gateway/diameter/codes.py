"""The numbers of Diameter that are spoken here, by name: RFC 6733, RFC 8506 and 3GPP TS 32.299."""

from enum import IntEnum
from typing import Final, NamedTuple

VENDOR_3GPP: Final = 10415

APPLICATION_CREDIT_CONTROL: Final = 4
APPLICATION_RELAY: Final = 0xFFFFFFFF


class Command(IntEnum):
    """Commands that are understood."""

    CAPABILITIES_EXCHANGE = 257
    CREDIT_CONTROL = 272
    DEVICE_WATCHDOG = 280
    DISCONNECT_PEER = 282


class ResultCode(IntEnum):
    """Result-Code: 3xxx are protocol errors, 4xxx may change, 5xxx will not."""

    SUCCESS = 2001
    COMMAND_UNSUPPORTED = 3001
    UNABLE_TO_DELIVER = 3002
    TOO_BUSY = 3004
    APPLICATION_UNSUPPORTED = 3007
    UNKNOWN_PEER = 3010
    END_USER_SERVICE_DENIED = 4010
    CREDIT_CONTROL_NOT_APPLICABLE = 4011
    CREDIT_LIMIT_REACHED = 4012
    UNKNOWN_SESSION_ID = 5002
    AUTHORIZATION_REJECTED = 5003
    INVALID_AVP_VALUE = 5004
    MISSING_AVP = 5005
    AVP_OCCURS_TOO_MANY_TIMES = 5009
    NO_COMMON_APPLICATION = 5010
    UNABLE_TO_COMPLY = 5012
    INVALID_AVP_LENGTH = 5014
    USER_UNKNOWN = 5030
    RATING_FAILED = 5031

    @property
    def is_protocol_error(self) -> bool:
        """Whether the answer carries the E bit (RFC 6733, section 7.1.3)."""
        return 3000 <= self < 4000


class RequestType(IntEnum):
    """CC-Request-Type."""

    INITIAL = 1
    UPDATE = 2
    TERMINATION = 3
    EVENT = 4


class RequestedAction(IntEnum):
    """Requested-Action of an event."""

    DIRECT_DEBITING = 0
    REFUND_ACCOUNT = 1
    CHECK_BALANCE = 2
    PRICE_ENQUIRY = 3


class FailureHandling(IntEnum):
    """Credit-Control-Failure-Handling: what a client does while we do not answer."""

    TERMINATE = 0
    CONTINUE = 1
    RETRY_AND_TERMINATE = 2


class AvpKey(NamedTuple):
    """What an AVP is known by."""

    code: int
    vendor: int = 0


SESSION_ID: Final = AvpKey(263)
ORIGIN_HOST: Final = AvpKey(264)
ORIGIN_REALM: Final = AvpKey(296)
DESTINATION_REALM: Final = AvpKey(283)
ORIGIN_STATE_ID: Final = AvpKey(278)
RESULT_CODE: Final = AvpKey(268)
ERROR_MESSAGE: Final = AvpKey(281)
FAILED_AVP: Final = AvpKey(279)
PROXY_INFO: Final = AvpKey(284)
HOST_IP_ADDRESS: Final = AvpKey(257)
VENDOR_ID: Final = AvpKey(266)
PRODUCT_NAME: Final = AvpKey(269)
SUPPORTED_VENDOR_ID: Final = AvpKey(265)
AUTH_APPLICATION_ID: Final = AvpKey(258)
VENDOR_SPECIFIC_APPLICATION_ID: Final = AvpKey(260)
DISCONNECT_CAUSE: Final = AvpKey(273)
TERMINATION_CAUSE: Final = AvpKey(295)

CC_CORRELATION_ID: Final = AvpKey(411)
CC_REQUEST_NUMBER: Final = AvpKey(415)
CC_REQUEST_TYPE: Final = AvpKey(416)
CC_SERVICE_SPECIFIC_UNITS: Final = AvpKey(417)
CC_SESSION_FAILOVER: Final = AvpKey(418)
CC_TIME: Final = AvpKey(420)
CHECK_BALANCE_RESULT: Final = AvpKey(422)
COST_INFORMATION: Final = AvpKey(423)
CURRENCY_CODE: Final = AvpKey(425)
CREDIT_CONTROL_FAILURE_HANDLING: Final = AvpKey(427)
DIRECT_DEBITING_FAILURE_HANDLING: Final = AvpKey(428)
EXPONENT: Final = AvpKey(429)
FINAL_UNIT_INDICATION: Final = AvpKey(430)
GRANTED_SERVICE_UNIT: Final = AvpKey(431)
RATING_GROUP: Final = AvpKey(432)
REQUESTED_ACTION: Final = AvpKey(436)
REQUESTED_SERVICE_UNIT: Final = AvpKey(437)
SERVICE_IDENTIFIER: Final = AvpKey(439)
SUBSCRIPTION_ID: Final = AvpKey(443)
SUBSCRIPTION_ID_DATA: Final = AvpKey(444)
UNIT_VALUE: Final = AvpKey(445)
USED_SERVICE_UNIT: Final = AvpKey(446)
VALUE_DIGITS: Final = AvpKey(447)
VALIDITY_TIME: Final = AvpKey(448)
FINAL_UNIT_ACTION: Final = AvpKey(449)
SUBSCRIPTION_ID_TYPE: Final = AvpKey(450)
MULTIPLE_SERVICES_CREDIT_CONTROL: Final = AvpKey(456)
SERVICE_CONTEXT_ID: Final = AvpKey(461)

ROLE_OF_NODE: Final = AvpKey(829, VENDOR_3GPP)
CALLING_PARTY_ADDRESS: Final = AvpKey(831, VENDOR_3GPP)
CALLED_PARTY_ADDRESS: Final = AvpKey(832, VENDOR_3GPP)
SERVICE_INFORMATION: Final = AvpKey(873, VENDOR_3GPP)
IMS_INFORMATION: Final = AvpKey(876, VENDOR_3GPP)
MMS_INFORMATION: Final = AvpKey(877, VENDOR_3GPP)
ORIGINATOR_ADDRESS: Final = AvpKey(886, VENDOR_3GPP)
ADDRESS_DATA: Final = AvpKey(897, VENDOR_3GPP)
RECIPIENT_ADDRESS: Final = AvpKey(1201, VENDOR_3GPP)
SMS_INFORMATION: Final = AvpKey(2000, VENDOR_3GPP)
RECIPIENT_INFO: Final = AvpKey(2026, VENDOR_3GPP)
IMS_EMERGENCY_INDICATOR: Final = AvpKey(2322, VENDOR_3GPP)
ORIGINATOR_RECEIVED_ADDRESS: Final = AvpKey(2027, VENDOR_3GPP)
