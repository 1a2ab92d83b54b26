"""A folder or a name becomes the files and numbers of a model.

Knows the published layouts, the hub and what graphs say about themselves. Opens no session and loads no weights.
"""
