"""What `import fgvc_cli` offers, and what the commands call: models, runs, training, sharing."""
