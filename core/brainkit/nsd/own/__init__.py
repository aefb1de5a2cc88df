"""Data of one's own: written as a folder that everything that reads NSD reads too."""
