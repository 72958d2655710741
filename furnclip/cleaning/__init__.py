"""Raw titles and photos in, clean product fields out.

``prepare`` turns the user's CSV into request files, ``submit`` hands them to a backend (the OpenAI
Batch API, a local chat server, or offline rules), ``harvest`` reads the answers back, ``finalize``
writes the cleaned CSV. Every backend reads the same request lines and writes the same output lines.
"""
