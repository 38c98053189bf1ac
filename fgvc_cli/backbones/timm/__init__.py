"""Networks of the optional package timm, and weights of theirs that Python packages carry."""
