"""How good a trained model is: accuracy, calibration, confusion, localisation."""
