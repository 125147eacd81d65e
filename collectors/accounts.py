"""Which account pays for which batch job of a cluster."""

REMEMBER_S = 24 * 3600  # a GPU page can name a job a while after the batch system has stopped listing it


class Accounts:
    """Jobs and their accounts, gathered from all exporters of a cluster. `version` grows with every change."""

    def __init__(self) -> None:
        self.version = 0
        self._current: dict[str, str] = {}
        self._previous: dict[str, str] = {}
        self._turned_s: float | None = None

    def update(self, accounts: dict[str, str], now_s: float) -> None:
        """Take in what an exporter lists at the time `now_s`. A job is remembered for one to two days after."""
        if self._turned_s is None or now_s - self._turned_s > REMEMBER_S:
            self._previous, self._current, self._turned_s = self._current, {}, now_s
        if any(self.of(job) != account for job, account in accounts.items()):
            self.version += 1
        self._current |= accounts

    def of(self, job: str) -> str:
        """The account of a job, empty when none is known."""
        return self._current.get(job) or self._previous.get(job, "")
