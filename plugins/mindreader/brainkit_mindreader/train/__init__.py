"""Trains the mappers and the generator: `python -m brainkit_mindreader.train`."""
