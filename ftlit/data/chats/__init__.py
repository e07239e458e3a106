"""Conversations as tokens: messages, templates, the assistant's turns, labels."""
