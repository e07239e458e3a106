"""Faults that users once met, and the tests that hold them off.

`known.csv` lists the faults; the other tables name the tests of each.
"""
