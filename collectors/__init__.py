"""From exporters' pages to Kafka: one module per exporter, a scraper, a publisher."""
