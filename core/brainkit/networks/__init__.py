"""Networks that several parts share, and where their weights are published."""
