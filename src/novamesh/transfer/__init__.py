"""Events from files to a node, and from a node to files, over HTTP."""
