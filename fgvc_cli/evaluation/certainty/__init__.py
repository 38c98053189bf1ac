"""How far a model's answers can be trusted: selective prediction, prediction sets, unknown classes."""
