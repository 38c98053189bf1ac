"""Pictures of the evidence behind a prediction. Only the evidence is read, never the method."""
