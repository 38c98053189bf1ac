"""What a model looked at, as pictures. It draws evidence and knows no method."""
