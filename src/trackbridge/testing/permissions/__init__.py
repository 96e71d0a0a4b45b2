"""What each verb of ``bridge`` may have to be allowed in a cloud: calls, and the permissions that they need.

::

    tests on the emulators -> calls of a verb == CALLS of its table -> permissions.json of a Terraform module

``python -m trackbridge.testing.permissions --write`` writes the files; without ``--write`` it tells which of
them are not what the tables say.
"""
