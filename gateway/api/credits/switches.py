"""Switches that hold no Session: registered and listed by operators."""

from gateway.api.credits.fields import read_page
from gateway.domain.identity import Identity
from gateway.domain.switch import Switch
from gateway.ledger.switches import Switches
from gateway.projection.switches import SwitchProjection
from gateway.store.clock import Clock
from gateway.v1 import credits_pb2 as pb


class SwitchRpcs:
    """What is asked about switches."""

    def __init__(self, switches: Switches, projection: SwitchProjection, clock: Clock) -> None:
        self._switches = switches
        self._projection = projection
        self._clock = clock

    async def register(self, request: pb.RegisterSwitchRequest, identity: Identity) -> pb.Switch:
        """Record where a switch is told what to do; every gateway follows within a second.

        Raises:
            PermissionDenied: The bearer is no operator.
            InvalidArgument: A value is out of its range.
            Unavailable: It may be done; repeat it.
        """
        identity.may_operate()
        switch = await self._switches.register(
            request.switch_id,
            request.callback_url,
            rotate_secret=request.rotate_secret,
            actor=identity.actor,
            now_ms=self._clock.now_ms(),
        )
        await self._projection.project()
        answer = _message(switch)
        answer.callback_secret = switch.callback_secret
        return answer

    async def list(self, request: pb.ListSwitchesRequest, identity: Identity) -> pb.ListSwitchesResponse:
        """The registered switches, without their secrets.

        Raises:
            PermissionDenied: The bearer is no operator.
            InvalidArgument: The page is not one of this list.
        """
        identity.may_operate()
        page = await self._switches.list(read_page(request.page_size, request.page_token))
        return pb.ListSwitchesResponse(
            switches=[_message(switch) for switch in page.items], next_page_token=page.next_page_token
        )


def _message(switch: Switch) -> pb.Switch:
    return pb.Switch(switch_id=switch.switch_id, callback_url=switch.callback_url)
