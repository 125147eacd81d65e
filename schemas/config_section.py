"""What every table of the configuration file is."""

from pydantic import BaseModel, ConfigDict


class MistakeAt(ValueError):
    """A table that contradicts itself; `key` is where to point the reader: a key of the table, or a path from there."""

    def __init__(self, key: str | tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.path = (key,) if isinstance(key, str) else key


class Section(BaseModel):
    """Base of every table of the file: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
