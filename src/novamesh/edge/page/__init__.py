"""The status page: one HTML document made on the server, of figures, charts and the API Reference."""
