"""ClickHouse's own engine (chdb) behind ClickHouse's own HTTP interface, as one process on one data folder.

Every client that speaks to a ClickHouse server over HTTP works against it: clickhouse-connect, curl, Grafana.
What differs from a server is stated in `compose.clickhouse.server`.
"""
