"""The kinds of pictures. Each draws one kind of evidence."""
