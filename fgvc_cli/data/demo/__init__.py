"""The built-in data set `demo`: images of finches, drawn by code in this package."""
