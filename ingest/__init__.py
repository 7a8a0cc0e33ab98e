"""What to copy, in which order, how to resume, and how to give it back.

The only package that may import all others; it wires them together and holds no format of its own.
"""
