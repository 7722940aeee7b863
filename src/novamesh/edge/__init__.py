"""The edge: HTTP in, answers out. Imports no store: it goes on accepting when the store is down."""
