"""Image files on disk: how they are read, measured, checked and compared."""
