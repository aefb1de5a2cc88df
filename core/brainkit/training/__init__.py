"""Train networks: one loop, which can be killed and goes on to the same bytes."""
