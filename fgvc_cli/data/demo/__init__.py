"""The built-in data set `demo`: finches that our own code draws."""
