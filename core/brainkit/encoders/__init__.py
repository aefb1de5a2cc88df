"""Encoders: parts that turn a stimulus into a feature worth predicting."""
