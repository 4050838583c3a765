"""A gateway that drains just as a client opens its Session."""

import asyncio
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

from gateway.client.transport import GrpcTransport, StreamBroken
from gateway.v1 import authorization_pb2 as pb

TIMES = 500
MEMORY_BYTES = 3 << 30

SETTINGS, SETTINGS_ACK = b"\0\0\0\4\0\0\0\0\0", b"\0\0\0\4\1\0\0\0\0"
GOAWAY = b"\0\0\x08\7\0\0\0\0\0" + bytes(8)
"""RFC 9113, 6.5 and 6.8: the last stream that was looked at is 0, and no error."""


def test_a_client_lives_through_goaway_at_any_moment() -> None:
    """In a process of its own, whose memory ends: gRPC's retries took it all (see CHANNEL_OPTIONS)."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.adversity.test_goaway"],
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, f"{TIMES} streams broke\n"), done.stderr[-3000:]


@asynccontextmanager
async def leaving_server() -> AsyncIterator[int]:
    """A server that says GOAWAY to each connection, at once or within a millisecond; its port."""
    pauses = cycle([0, 0.0002, 0, 0.0005, 0.001])

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(SETTINGS)
            await reader.read(1 << 16)
            writer.write(SETTINGS_ACK)
            await asyncio.sleep(next(pauses))
            writer.write(GOAWAY)
            while await reader.read(1 << 16):
                pass
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(leave, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def open_streams() -> int:
    """Open streams, one after another; how many of them broke, as all must."""
    broken = 0
    pauses = cycle([0, 0.0003, 0.0006, 0, 0.0009, 0.0001, 0])
    async with leaving_server() as port:
        transport = GrpcTransport(f"127.0.0.1:{port}", "token", None, None)
        for _ in range(TIMES):
            try:
                stream = await transport.connect(2.0)
            except StreamBroken:
                broken += 1
                continue
            await asyncio.sleep(next(pauses))
            try:
                async with asyncio.timeout(5):
                    await stream.write(pb.SessionRequest())
                    await stream.read()
            except StreamBroken:
                broken += 1
            finally:
                await stream.close()
    return broken


if __name__ == "__main__":
    print(asyncio.run(open_streams()), "streams broke")
