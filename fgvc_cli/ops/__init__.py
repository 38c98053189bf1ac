"""Pure, batched tensor functions without parameters: boxes, crops, class activation maps."""
