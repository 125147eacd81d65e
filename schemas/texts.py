"""The same words in the two official languages."""

import re
from dataclasses import dataclass
from typing import Literal

Lang = Literal["en", "fr"]
LANGS: tuple[Lang, ...] = ("en", "fr")

_BEFORE_FRENCH_SIGN = re.compile(r" (?=[:;?!%])")


@dataclass(frozen=True, slots=True)
class Text:
    """The same words in both languages."""

    en: str
    fr: str

    def of(self, lang: Lang) -> str:
        """The words in a language; French signs keep their no-break space."""
        return _BEFORE_FRENCH_SIGN.sub("\u00a0", self.fr) if lang == "fr" else self.en
