"""How far the scores of predictions are probabilities: measures of it, and maps that make them more so."""
