"""Train the networks that all methods of the miniature share."""
