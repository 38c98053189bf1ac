"""Image files on disk, looked at: read, measured, checked, compared."""
