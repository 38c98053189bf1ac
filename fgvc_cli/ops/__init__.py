"""Pure tensor functions, batched, without parameters: boxes, crops, class activation maps."""
