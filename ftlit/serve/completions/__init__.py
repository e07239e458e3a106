"""Texts that models write, asked for and answered as with OpenAI's API: whole or as they come."""
