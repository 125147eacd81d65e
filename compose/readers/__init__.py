"""Who may read the book on a ClickHouse server: roles, and readers bound to clusters or programmes."""
