"""What a store may be made of, and what all that are have in common."""

from abc import ABC, abstractmethod
from enum import StrEnum


class Form(StrEnum):
    """What a store is made of."""

    ONE = "one store"
    SENTINELS = "sentinels"
    CLUSTER = "Cluster"


class Store(ABC):
    """The store of a site."""

    @property
    @abstractmethod
    def url(self) -> str:
        """As TOLLGATE_REDIS_URL takes it, past all proxies."""

    @property
    def gateway_url(self) -> str:
        """The same as the gateway is given it."""
        return self.url

    @abstractmethod
    def is_whole(self) -> bool:
        """Whether everything is as it was at the beginning, so that something else may fail. It blocks."""
