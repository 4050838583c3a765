"""What waits for a switch is posted whenever it is put."""

import asyncio

from gateway.hooks.mailbox import AT_ONCE, Mailbox
from gateway.v1 import authorization_pb2 as pb


async def test_what_is_put_as_the_last_posts_end_is_posted() -> None:
    posted: list[str] = []
    answered = asyncio.Event()

    async def post(command: pb.Command) -> None:
        posted.append(command.call_id)
        await answered.wait()

    def command(number: int) -> pb.Command:
        return pb.Command(command_id=f"{number}", office_id="a", call_id=f"{number}", cut_call=pb.CutCall())

    mailbox = Mailbox("switch", post)
    for number in range(AT_ONCE):
        mailbox.put(command(number))
    await asyncio.sleep(0)
    assert len(posted) == AT_ONCE
    answered.set()
    # One turn of the loop: all posts have ended, and nothing but that has happened yet.
    await asyncio.sleep(0)
    mailbox.put(command(AT_ONCE))
    await mailbox.settled()
    assert posted == [str(number) for number in range(AT_ONCE + 1)]
