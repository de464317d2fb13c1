"""The pages that a run, a study or an inspection leaves, their figures, and the model card.

Nothing here knows models or data: it receives numbers, arrays and pictures.
"""
