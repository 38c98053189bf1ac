"""The network's input of an image in numpy alone: what an exported model needs, without PyTorch."""
