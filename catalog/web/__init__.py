"""The page: plain HTML, JavaScript modules and CSS, served by the API. `assets` lists its files for serving.

Imports nothing of ours: the page knows the catalog through HTTP alone.
"""
