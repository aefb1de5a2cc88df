"""The networks that some scores are defined by."""
