"""A hypervisor's dialect in, neutral facts out.

Start with `port.py`. Imports none of our other packages; an adapter never decides what to copy.
"""
