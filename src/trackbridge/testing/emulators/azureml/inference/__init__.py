"""What runs inside of an emulated deployment in place of Azure's own images; needs nothing of the emulator.

``server`` answers for a scoring script (``init`` and ``run``) or for an MLflow model, ``batch`` scores files.
"""
