"""Putting the parts together: the command line, the supervisor, the embedded broker and ClickHouse."""
