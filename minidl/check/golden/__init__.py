"""Golden vectors and traces: what lets code in any language be checked without running ours beside it."""
