"""How the arms of a study choose values, and how far chance decides."""
