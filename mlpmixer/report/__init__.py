"""What a person sees of a run: its directory, the console, the figures and the report page.

Nothing here imports another part of the package; it receives numbers, arrays and pictures.
"""
