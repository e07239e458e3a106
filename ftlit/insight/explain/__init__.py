"""Explain predictions by the words of their texts: attributions, and checks of whether they can be believed."""
