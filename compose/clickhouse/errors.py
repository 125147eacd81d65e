"""ClickHouse's errors: the code, the text, and the HTTP status that a ClickHouse server answers with.

Source: ClickHouse `src/Common/ErrorCodes.cpp` and `src/Server/HTTP/exceptionCodeToHTTPStatus.cpp`.
"""

import re

NOT_IMPLEMENTED = 48
SYNTAX_ERROR = 62
UNKNOWN_FORMAT = 73
UNKNOWN_COMPRESSION_METHOD = 89
INCORRECT_DATA = 117
READONLY = 164
QUERY_IS_TOO_LARGE = 229
NOT_ENOUGH_SPACE = 243
INTO_OUTFILE_NOT_ALLOWED = 358
ACCESS_DENIED = 497
AUTHENTICATION_FAILED = 516
UNKNOWN_EXCEPTION = 1002

_NAMES = {
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    UNKNOWN_FORMAT: "UNKNOWN_FORMAT",
    UNKNOWN_COMPRESSION_METHOD: "UNKNOWN_COMPRESSION_METHOD",
    INCORRECT_DATA: "INCORRECT_DATA",
    READONLY: "READONLY",
    QUERY_IS_TOO_LARGE: "QUERY_IS_TOO_LARGE",
    NOT_ENOUGH_SPACE: "NOT_ENOUGH_SPACE",
    INTO_OUTFILE_NOT_ALLOWED: "INTO_OUTFILE_NOT_ALLOWED",
    ACCESS_DENIED: "ACCESS_DENIED",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    UNKNOWN_EXCEPTION: "UNKNOWN_EXCEPTION",
}

_BAD_REQUEST = (
    *(6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, SYNTAX_ERROR, 72, UNKNOWN_COMPRESSION_METHOD, INCORRECT_DATA),
    *(123, 167, 168, 223, 321, 376, 427, 441, 457, 675, 676),
)
_NOT_FOUND = (46, 47, 50, 56, 60, 63, UNKNOWN_FORMAT, 78, 81, 115, 152, 336, 511)
_FORBIDDEN = (192, 193, ACCESS_DENIED, 512, AUTHENTICATION_FAILED)
_STATUS = {
    **dict.fromkeys(_BAD_REQUEST, 400),
    **dict.fromkeys(_NOT_FOUND, 404),
    **dict.fromkeys(_FORBIDDEN, 403),
    194: 401,  # REQUIRED_PASSWORD
    159: 408,  # TIMEOUT_EXCEEDED
    QUERY_IS_TOO_LARGE: 413,
    NOT_IMPLEMENTED: 501,
    76: 503,  # CANNOT_OPEN_FILE
    209: 503,  # SOCKET_TIMEOUT
    439: 503,  # CANNOT_SCHEDULE_TASK
}

_CODE = re.compile(r"Code: (\d+)\.")


class ClickHouseError(Exception):
    """An error as a ClickHouse server reports it. `str()` is the whole text, code and name included."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        found = _CODE.search(text)
        self.code = int(found.group(1)) if found else UNKNOWN_EXCEPTION

    @classmethod
    def of(cls, code: int, text: str) -> "ClickHouseError":
        """An error of this server's own making, in the engine's manner."""
        return cls(f"Code: {code}. DB::Exception: {text} ({_NAMES[code]})")

    @property
    def status(self) -> int:
        """HTTP status."""
        return _STATUS.get(self.code, 500)
