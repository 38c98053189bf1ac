"""Models shared on the Hugging Face hub: what is sent of a run, and what is taken of a repository."""
