"""The offices that the store had and has lost: said once, counted, and left to `tollgate rebuild`."""

import structlog

from gateway import metrics

log = structlog.get_logger(__name__)


class MissingOffices:
    """Remembers which offices are missing, so that each is logged once and the metric says how many there are."""

    def __init__(self) -> None:
        self._office_ids: set[str] = set()
        self._count()  # so that nobody takes for unknown, or for as it was before a restart, what is none

    def __contains__(self, office_id: str) -> bool:
        return office_id in self._office_ids

    def add(self, office_id: str) -> None:
        """Note that the store does not hold an office that it had."""
        if office_id not in self._office_ids:
            log.error("office_missing_in_store", office_id=office_id, cure="tollgate rebuild")
            self._office_ids.add(office_id)
            self._count()

    def discard(self, office_id: str) -> None:
        """Note that the store holds an office."""
        if office_id in self._office_ids:
            log.info("office_back_in_store", office_id=office_id)
            self._office_ids.discard(office_id)
            self._count()

    def _count(self) -> None:
        metrics.OFFICES_MISSING.set(len(self._office_ids))
