"""The kinds of pictures: each draws one kind of evidence."""
