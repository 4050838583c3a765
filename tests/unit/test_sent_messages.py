"""The proxy's file: what is owed survives the process, and only what is owed is given back."""

import asyncio
import sqlite3
from pathlib import Path

from gateway.sms.sent_messages import SentMessages, Wish

WISH = Wish(19, "http://app:8080")


async def test_what_was_paid_and_not_sent_is_owed_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "messages.db"
    async with SentMessages(path, keep_days=1) as messages:
        for message_id in ("asked", "sent", "refused", "blocked"):
            await messages.asked(message_id, "springfield", WISH)
        await messages.forget("blocked")
        for message_id in ("sent", "refused"):
            await messages.sending(message_id)
        await messages.owe("refused")
        assert await messages.owed(10) == [("refused", "springfield")]
    async with SentMessages(path, keep_days=1) as messages:
        assert await messages.owed(10) == [("asked", "springfield"), ("refused", "springfield")]
        assert await messages.owed(1) == [("asked", "springfield")]


async def test_what_was_given_back_is_not_owed_again(tmp_path: Path) -> None:
    async with SentMessages(tmp_path / "messages.db", keep_days=1) as messages:
        await messages.asked("m1", "springfield", WISH)
        await messages.sending("m1")
        await asyncio.gather(*(messages.owe("m1") for _ in range(5)))
        await messages.settled("m1")
        await messages.owe("m1")
        assert await messages.owed(10) == []
        assert await messages.wish_of("m1") == WISH
        assert await messages.wish_of("m2") is None


async def test_what_is_old_is_forgotten_unless_it_is_owed(tmp_path: Path) -> None:
    path = tmp_path / "messages.db"
    async with SentMessages(path, keep_days=1) as messages:
        for message_id in ("sent", "owed", "young"):
            await messages.asked(message_id, "springfield", WISH)
            await messages.sending(message_id)
        await messages.owe("owed")
        database = sqlite3.connect(path)
        with database:
            database.execute("UPDATE messages SET since = since - 86401 WHERE message_id != 'young'")
        database.close()
        await messages.clean()
        assert [await messages.wish_of(each) for each in ("sent", "owed", "young")] == [None, WISH, WISH]
