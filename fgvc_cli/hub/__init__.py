"""The Hugging Face hub: names of repositories, fetching and sending files. Knows nothing of runs."""
