"""Features of images: computed once by a network that no longer changes, kept, and used by all commands."""
