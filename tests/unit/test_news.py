"""News from the journaler to the back, through the pipe that the supervisor holds."""

import asyncio
import os

import pytest

from gateway.news import NEWS_VARIABLE, News, follow_news, news_teller, open_news


async def test_news_are_heard_once_however_often_they_were_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for_back, of_journaler = open_news()
    monkeypatch.setenv(NEWS_VARIABLE, str(of_journaler))
    tell = news_teller()
    for _ in range(3):
        tell(News.GUARDS_TRIPPED)
        tell(News.REFILLS_RECORDED)
    heard: asyncio.Queue[News] = asyncio.Queue()
    monkeypatch.setenv(NEWS_VARIABLE, str(for_back))
    following = asyncio.create_task(follow_news(heard.put_nowait))
    try:
        assert [await heard.get() for _ in range(2)] == [News.REFILLS_RECORDED, News.GUARDS_TRIPPED]
        tell(News.GUARDS_TRIPPED)
        assert await heard.get() is News.GUARDS_TRIPPED
        # The supervisor is gone: nothing is heard any more, and nothing spins.
        os.close(of_journaler)
        await asyncio.sleep(0)
        assert not following.done()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(for_back)


def test_nobody_waits_for_a_back_that_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for_back, of_journaler = open_news()
    monkeypatch.setenv(NEWS_VARIABLE, str(of_journaler))
    tell = news_teller()
    try:
        for _ in range(100_000):  # More than a pipe holds.
            tell(News.REFILLS_RECORDED)
        assert set(os.read(for_back, 1_000_000)) == {News.REFILLS_RECORDED}
    finally:
        os.close(for_back)
        os.close(of_journaler)


async def test_without_a_supervisor_there_is_neither_ear_nor_mouth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NEWS_VARIABLE, raising=False)
    news_teller()(News.REFILLS_RECORDED)
    following = asyncio.create_task(follow_news(lambda _: pytest.fail("nobody told")))
    await asyncio.sleep(0)
    assert not following.done()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
