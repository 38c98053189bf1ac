"""What a pass over a split counts on the device."""
