"""What a node knows of itself: measured uptime and request figures. Nothing here is estimated or made up.

- :mod:`novamesh.status.uptime`: when the node could accept events, kept over restarts in ``status.db``;
- :mod:`novamesh.status.metrics`: latencies and counts since the node started, shared between processes in ``run/``.
"""
