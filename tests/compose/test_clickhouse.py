"""The embedded ClickHouse speaks ClickHouse's HTTP interface: to the unmodified client, and to whatever can POST."""

import gzip
import http.client
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import clickhouse_connect
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from compose import client
from compose.client import CannotConnect
from tests.compose.http import ask
from tests.roles import Running, wait_until

ROWS = 200_000


@pytest.fixture(scope="module")
def url(clickhouse_server: Running) -> str:
    return clickhouse_server.url


@pytest.fixture(scope="module")
def connected(url: str) -> Client:
    """A client as the library makes it by itself: sessions, compression and all."""
    host, port = url.removeprefix("http://").split(":")
    return clickhouse_connect.get_client(host=host, port=int(port))


@pytest.fixture
def table(connected: Client) -> Iterator[str]:
    connected.command("CREATE DATABASE IF NOT EXISTS trial")
    connected.command("DROP TABLE IF EXISTS trial.t")
    connected.command("CREATE TABLE trial.t (x Int64, s String) ENGINE = MergeTree PARTITION BY x < 0 ORDER BY x")
    yield "trial.t"
    connected.command("DROP TABLE trial.t")


def count(connected: Client, table: str) -> int:
    return int(connected.query(f"SELECT count() FROM {table}").result_rows[0][0])


def stream(*batches: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def batch(rows: int, first: int = 0) -> pa.RecordBatch:
    numbers = pa.array(range(first, first + rows), pa.int64())
    return pa.record_batch({"x": numbers, "s": pa.array([str(i % 7) for i in range(rows)])})


# --- the unmodified client ------------------------------------------------------------------------------------------


def test_client_values_of_all_kinds(connected: Client) -> None:
    """What goes in as Python values comes back equal: Native insert and query, types that money and time need."""
    connected.command("CREATE DATABASE IF NOT EXISTS trial")
    connected.command(
        "CREATE OR REPLACE TABLE trial.kinds (a Int64, b Nullable(Float64), c Decimal(38, 9), "
        "d DateTime64(3, 'UTC'), e LowCardinality(String), f Array(String), g Bool) ENGINE = MergeTree ORDER BY a"
    )
    moment = datetime(2026, 4, 1, 12, 0, 0, 123000, UTC)
    rows = [
        (1, None, Decimal("12345678901234567890.123456789"), moment, "é'\\\n", ["x", ""], True),
        (2, 0.5, Decimal("-0.000000001"), moment, "", [], False),
    ]
    connected.insert("kinds", rows, database="trial")
    result = connected.query("SELECT * FROM trial.kinds ORDER BY a", query_tz="UTC")
    assert [tuple(row) for row in result.result_rows] == [
        (*row[:3], row[3] if result.result_rows[0][3].tzinfo else row[3].replace(tzinfo=None), *row[4:]) for row in rows
    ]
    connected.command("DROP TABLE trial.kinds")


def test_client_arrow_both_ways(connected: Client, table: str) -> None:
    """insert_arrow, query_arrow, query_df, and ArrowStream through raw_insert, the way the worker stores rows."""
    rows = pa.Table.from_batches([batch(ROWS)])
    assert connected.insert_arrow(table, rows).written_rows == ROWS
    connected.raw_insert(table, ["x", "s"], stream(batch(ROWS, ROWS)), fmt="ArrowStream", settings={"async_insert": 0})
    assert count(connected, table) == 2 * ROWS
    back = connected.query_arrow(f"SELECT x, s FROM {table} ORDER BY x LIMIT {ROWS}", use_strings=True)
    assert back.cast(rows.schema).equals(rows)
    frame = connected.query_df(f"SELECT s, count() AS n FROM {table} GROUP BY s ORDER BY s")
    assert frame["n"].sum() == 2 * ROWS
    assert list(frame["s"]) == list("0123456")
    with connected.query_arrow_stream(f"SELECT x FROM {table} ORDER BY x", use_strings=True) as parts:
        numbers = [number for part in parts for number in part.column(0).to_pylist()]
    assert numbers == list(range(2 * ROWS))


def test_client_parameters_and_settings(connected: Client) -> None:
    """Parameters are bound by the server; settings hold for their request alone."""
    values = {"s": "it's \\ \n {x}", "n": -5, "a": ["p", "q'"], "z": None}
    query = "SELECT {s:String}, {n:Int32}, {a:Array(String)}, {z:Nullable(String)}, getSetting('max_block_size')"
    row = connected.query(query, parameters=values, settings={"max_block_size": 1234}).result_rows[0]
    assert tuple(row) == ("it's \\ \n {x}", -5, ["p", "q'"], None, 1234)
    assert connected.query("SELECT getSetting('max_block_size') != 1234").result_rows[0][0] == 1
    assert connected.command("SELECT {x:UInt8} + 1", parameters={"x": 1}) == 2


def test_client_streams_what_is_larger_than_it_holds(connected: Client) -> None:
    """Blocks arrive while the rest is still being computed."""
    total = 0
    with connected.query_row_block_stream("SELECT number FROM numbers(3000000)") as blocks:
        for block in blocks:
            total += len(block)
    assert total == 3_000_000


def test_errors_reach_the_client(connected: Client) -> None:
    """ClickHouse's own code and text, also when the error comes in the middle of a long answer."""
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE") as error:
        connected.query("SELECT * FROM nowhere")
    assert error.value.code == 60
    with pytest.raises(Exception, match="FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"):
        assert connected.query("SELECT number, throwIf(number = 4000000) FROM numbers(5000000)").row_count
    assert connected.query("SELECT 1").result_rows == [(1,)]


def test_connect_says_what_is_wrong(url: str) -> None:
    """One sentence each for the mistakes people make."""
    with pytest.raises(CannotConnect, match=r"The ClickHouse at http://127.0.0.1:1 cannot be reached: start it"):
        client.connect("http://127.0.0.1:1")
    with pytest.raises(CannotConnect, match="refuses user 'bob': check COMMONWATT_CLICKHOUSE_PASSWORD"):
        client.connect(url, "bob")
    with pytest.raises(CannotConnect, match="has no database 'nowhere': run `commonwatt migrate` first"):
        client.connect(url, database="nowhere")
    with pytest.raises(CannotConnect, match="is not the URL of a ClickHouse"):
        client.connect("localhost:8123")


# --- plain HTTP -----------------------------------------------------------------------------------------------------


def test_ping_and_root(url: str) -> None:
    """Health checks as other tools make them."""
    assert ask(url, method="GET", path="/ping").text == "Ok.\n"
    assert ask(url, method="GET").text == "Ok.\n"


def test_query_in_body_or_address(url: str) -> None:
    """Both ways, with headers that say what came back; the format is the statement's, else the default one."""
    answer = ask(url, "SELECT 1 AS a, 'b' AS b FORMAT JSONEachRow", query_id="mine")
    assert (answer.status, answer.text) == (200, '{"a":1,"b":"b"}\n')
    assert answer.headers["X-ClickHouse-Query-Id"] == "mine"
    assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert answer.headers["X-ClickHouse-Timezone"] == "UTC"
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["result_rows"] == "1"
    assert ask(url, method="GET", query="SELECT 1, 2").text == "1\t2\n"
    assert ask(url, "SELECT 1", default_format="CSVWithNames").text == '"1"\n1\n'
    assert ask(url, "number FROM numbers(2)", query="SELECT").text == "0\n1\n"
    assert ask(url, "SELECT timezone()").text == "UTC\n"


@pytest.mark.parametrize("name", ["JSON", "Pretty", "CSVWithNames", "Parquet", "Arrow", "XML", "Null"])
def test_formats_that_are_one_piece(url: str, name: str) -> None:
    """A format with a beginning and an end is whole, however many blocks the result has."""
    answer = ask(
        url, f"SELECT number FROM numbers(200000) ORDER BY number SETTINGS max_block_size = 10000 FORMAT {name}"
    )
    assert answer.status == 200
    if name == "JSON":
        assert len(json.loads(answer.body)["data"]) == 200_000
    if name == "CSVWithNames":
        assert answer.text.count("number") == 1
    if name == "Arrow":
        assert pa.ipc.open_file(answer.body).read_all().num_rows == 200_000


def test_totals_are_not_lost(url: str) -> None:
    """A result of several parts comes whole."""
    query = "SELECT number % 2 AS a, count() FROM numbers(10) GROUP BY a WITH TOTALS ORDER BY a"
    assert ask(url, query).text == "0\t5\n1\t5\n\n0\t10\n"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("SELECT * FROM nowhere", 404, "60"),
        ("SELECT * FROM nowhere.t", 404, "81"),
        ("SELEC 1", 400, "62"),
        ("", 400, "62"),
        ("SELECT 1; SELECT 2", 400, "62"),
        ("SELECT 1; SELECT 2 FORMAT JSON", 400, "62"),
        ("SELECT nothing", 404, "47"),
        ("SELECT 1 FORMAT Nonsense", 404, "73"),
        ("SELECT 1 SETTINGS nonsense = 1", 404, "115"),
        ("SELECT {x:UInt8}", 500, "456"),
        (
            "SELECT sleep(3) SETTINGS max_execution_time = 0.3, function_sleep_max_microseconds_per_block = 9000000",
            408,
            "159",
        ),
        ("SELECT 1 INTO OUTFILE 'x'", 500, "358"),
        ("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT LineAsString", 500, "358"),
        ("INSERT INTO t SELECT x FROM input('x Int32') FORMAT CSV 1", 501, "48"),
        ("SET max_threads = 1", 501, "48"),
        ("USE system", 501, "48"),
        ("CREATE TEMPORARY TABLE t (x Int32)", 501, "48"),
    ],
)
def test_errors_are_those_of_clickhouse(url: str, query: str, status: int, code: str) -> None:
    """Status, code in the header, and the text with code, name and version."""
    answer = ask(url, query)
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (status, code)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert "(version " in answer.text


def test_other_refusals(url: str) -> None:
    """Of what real servers do and this one does not, nothing is silently ignored."""
    assert ask(url, "SELECT 1", nonsense="1").headers["X-ClickHouse-Exception-Code"] == "115"
    assert ask(url, "SELECT 1", compress="1").status == 501
    assert ask(url, "x", headers={"Content-Encoding": "zip"}).headers["X-ClickHouse-Exception-Code"] == "89"
    assert ask(url, b"garbage", headers={"Content-Encoding": "zstd"}).headers["X-ClickHouse-Exception-Code"] == "117"
    assert ask(url, b"SELECT '\xff\xfe'").headers["X-ClickHouse-Exception-Code"] == "62"
    assert ask(url, "SELECT 1", database="nowhere").headers["X-ClickHouse-Exception-Code"] == "81"
    assert ask(url, method="DELETE").status == 405
    assert ask(url, method="GET", path="/nowhere").status == 404


def test_get_reads_only(url: str) -> None:
    """As in ClickHouse: a GET changes nothing."""
    answer = ask(url, method="GET", query="CREATE DATABASE trial2")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"


def test_requests_share_no_state(url: str) -> None:
    """A database or a setting holds for its own request, also on the same connection."""
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    answers = []
    for parameters in ("?database=system&max_block_size=77", ""):
        connection.request("POST", f"/{parameters}", "SELECT currentDatabase(), getSetting('max_block_size') = 77")
        answers.append(connection.getresponse().read())
    connection.close()
    assert answers == [b"system\t1\n", b"default\t0\n"]


@pytest.mark.parametrize("encoding", ["gzip", "lz4", "zstd", "br"])
def test_compression_both_ways(url: str, connected: Client, table: str, encoding: str) -> None:
    """Small and large, in and out; ClickHouse compresses answers only when the setting asks for it."""
    codec = "brotli" if encoding == "br" else encoding
    lines = b"".join(b"%d\tabc\n" % number for number in range(300_000))
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as packer:
        packer.write(lines)
    inserted = ask(
        url, bytes(sink.getvalue()), query=f"INSERT INTO {table} FORMAT TSV", headers={"Content-Encoding": encoding}
    )
    assert (inserted.status, count(connected, table)) == (200, 300_000)
    query = f"SELECT x, s FROM {table} ORDER BY x"
    for limit in ("LIMIT 3", ""):
        headers = {"Accept-Encoding": f"{encoding}, deflate"}
        answer = ask(url, f"{query} {limit}", headers=headers, enable_http_compression="1", max_block_size="50000")
        assert answer.headers["Content-Encoding"] == encoding
        with pa.input_stream(pa.py_buffer(answer.body), compression=codec) as unpacker:
            assert unpacker.read() == (b"".join(lines.splitlines(True)[:3]) if limit else lines)
        assert "Content-Encoding" not in ask(url, f"{query} {limit}", headers=headers).headers


def test_form_fields(url: str) -> None:
    """Query and parameters as fields of a form, as the client sends long ones."""
    body = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("query", "SELECT {x:String} || 'y'"), ("param_x", "é"))
    )
    answer = ask(url, body + "--b--\r\n", headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.text == "éy\n"


# --- inserts --------------------------------------------------------------------------------------------------------


def test_inserts_in_every_position(url: str, connected: Client, table: str) -> None:
    """Statement and data together, apart, with VALUES, from a SELECT, without a FORMAT."""
    ask(url, f"INSERT INTO {table} FORMAT CSV\n1,a\n2,b\n")
    ask(url, "3,c\n", query=f"INSERT INTO {table} (x, s) FORMAT CSV")
    ask(url, f"INSERT INTO {table} VALUES (4, 'd;'), (5, 'FORMAT CSV')")
    ask(url, "(6, 'f')", query=f"INSERT INTO {table} VALUES")
    ask(url, "(7, {v:String})", query=f"INSERT INTO {table} (x, s) VALUES", param_v="g")
    ask(url, f"INSERT INTO {table} SELECT 8, 'format'")
    ask(url, f"WITH 9 AS n INSERT INTO {table} SELECT n, 'i'")
    ask(url, gzip.compress(f"INSERT INTO {table} FORMAT TSV 10\tj".encode()), headers={"Content-Encoding": "gzip"})
    assert ask(url, f"SELECT * FROM {table} ORDER BY x FORMAT Values").text == (
        "(1,'a'),(2,'b'),(3,'c'),(4,'d;'),(5,'FORMAT CSV'),(6,'f'),(7,'g'),(8,'format'),(9,'i'),(10,'j')"
    )
    answer = ask(url, "11,k\n12,l\n", query=f"INSERT INTO {table} FORMAT CSV")
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == "2"


def test_insert_is_one_block(url: str, connected: Client, table: str) -> None:
    """Many record batches in one body become one part, so that they are stored together or not at all."""
    connected.command("SYSTEM STOP MERGES trial.t")
    body = stream(*(batch(4096, 4096 * number) for number in range(200)))
    ask(url, body, query=f"INSERT INTO {table} FORMAT ArrowStream")
    parts = connected.query("SELECT rows FROM system.parts WHERE database = 'trial' AND table = 't' AND active")
    assert [row[0] for row in parts.result_rows] == [4096 * 200]


@pytest.mark.parametrize("cut", [1, 1000, 100_000])
def test_damaged_inserts_store_nothing(url: str, connected: Client, table: str, cut: int) -> None:
    """A body that is cut off or not what it says leaves the table as it was."""
    body = stream(batch(10_000), batch(10_000))[: -cut - 8]
    assert ask(url, body, query=f"INSERT INTO {table} FORMAT ArrowStream").text.startswith("Code: 33.")
    assert ask(url, b"1,a\n2,b\nthree,c\n", query=f"INSERT INTO {table} FORMAT CSV").status == 400
    assert (
        ask(url, body, query=f"INSERT INTO {table} FORMAT ArrowStream", headers={"Content-Encoding": "lz4"}).status
        == 400
    )
    assert ask(url, b"1,a", query="INSERT INTO trial.nowhere FORMAT CSV").status == 404
    assert count(connected, table) == 0


@pytest.mark.parametrize(
    ("prepare", "partitions", "code"),
    [
        ("ADD CONSTRAINT small CHECK x < 2", "100", "469"),
        ("MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000", "100", "243"),
        ("MODIFY SETTING parts_to_throw_insert = 1", "100", "252"),
        ("MODIFY COMMENT 'two partitions'", "1", "252"),
    ],
)
def test_what_goes_wrong_after_reading_is_told(
    url: str, connected: Client, table: str, prepare: str, partitions: str, code: str
) -> None:
    """Data that were read but could not be stored are no success: every error of the table reaches the client."""
    connected.command(f"SYSTEM STOP MERGES {table}")
    for number in (0, 1):
        ask(url, f"{number},a\n", query=f"INSERT INTO {table} FORMAT CSV")
    connected.command(f"ALTER TABLE {table} {prepare}")
    for body, name in ((b"-2,a\n2,b\n", "CSV"), (stream(batch(3, 0), batch(3, -3)), "ArrowStream")):
        query = f"INSERT INTO {table} FORMAT {name}"
        answer = ask(url, body, query=query, max_partitions_per_insert_block=partitions)
        assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (500, code), answer.text
    assert count(connected, table) == 2


def test_data_are_only_data(url: str, connected: Client, table: str) -> None:
    """Blank lines, semicolons and statements in the data are stored; settings stand where ClickHouse has them."""
    texts = ["a\n\nb", ";", "\n\nDROP TABLE trial.t", "'", "-- c", "/*", ""]
    rows = "\n".join(json.dumps({"x": number, "s": text}) for number, text in enumerate(texts))
    query = f"INSERT INTO {table} (x, s) SETTINGS max_threads = 1 -- why not\nFORMAT JSONEachRow"
    assert ask(url, f"\n\n{rows}\n\n", query=query).status == 200
    body = pa.record_batch({"x": pa.array(range(10, 10 + len(texts)), pa.int64()), "s": pa.array(texts)})
    assert ask(url, stream(body), query=f"INSERT INTO {table} FORMAT ArrowStream").status == 200
    found = connected.query(f"SELECT s FROM {table} ORDER BY x").result_rows
    assert [row[0] for row in found] == texts + texts


def test_client_that_breaks_off_stores_nothing(url: str, connected: Client, table: str) -> None:
    """Rows are stored when the whole body has arrived."""
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.putrequest("POST", f"/?query=INSERT+INTO+{table}+FORMAT+CSV")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders()
    connection.send(b"1,a\n" * 1000)
    connection.close()
    assert ask(url, method="GET", path="/ping").status == 200
    assert count(connected, table) == 0


def test_deduplication_token(connected: Client, table: str) -> None:
    """A repeated insert under one token adds nothing where the table keeps a window."""
    connected.command(f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 100")
    settings = {"insert_deduplication_token": "t:0:1-2"}
    for _ in range(3):
        connected.raw_insert(table, ["x", "s"], stream(batch(100)), fmt="ArrowStream", settings=settings)
    assert count(connected, table) == 100


# --- many at once ---------------------------------------------------------------------------------------------------


def test_threads_share_a_client(url: str, connected: Client, table: str) -> None:
    """Inserts and queries of several threads over one client, each answer its own."""
    shared = client.connect(url, database="trial")
    wrong: list[object] = []

    def work(number: int) -> None:
        for round_ in range(10):
            first = (number * 10 + round_) * 1000
            shared.raw_insert("t", ["x", "s"], stream(batch(1000, first)), fmt="ArrowStream")
            seen = shared.query(
                "SELECT {n:Int64}, count() FROM t WHERE x >= {n:Int64} AND x < {n:Int64} + 1000", {"n": first}
            )
            if [tuple(row) for row in seen.result_rows] != [(first, 1000)]:
                wrong.append(seen.result_rows)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared.close()
    assert wrong == []
    assert count(connected, table) == 40_000


def test_slow_queries_do_not_hold_up_inserts(url: str, connected: Client, table: str) -> None:
    """With every slot of the readers taken for seconds, an insert is stored at once."""
    slow = "SELECT count() FROM numbers(6) WHERE NOT ignore(sleepEachRow(0.25)) SETTINGS max_block_size = 1"
    readers = [threading.Thread(target=ask, args=(url, slow)) for _ in range(9)]
    for reader in readers:
        reader.start()
    time.sleep(0.3)
    begin = time.monotonic()
    assert ask(url, stream(batch(10_000)), query=f"INSERT INTO {table} FORMAT ArrowStream").status == 200
    took_s = time.monotonic() - begin
    still_reading = sum(reader.is_alive() for reader in readers)
    for reader in readers:
        reader.join()
    assert still_reading == 9
    assert took_s < 1.0
    assert count(connected, table) == 10_000


def test_a_query_ends_when_its_client_goes(url: str) -> None:
    """Nobody computes for a dashboard that was closed."""
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    mark = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"
    connection.request("POST", "/", mark)
    running = f"SELECT count() FROM system.processes WHERE query = '{mark}'"
    wait_until(lambda: ask(url, running).text == "1\n", 10)
    connection.close()
    wait_until(lambda: ask(url, running).text == "0\n", 10)
