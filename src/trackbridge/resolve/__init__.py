"""From a tracking URI to an opened adapter, and from a setting to its value and origin.

``uri`` is the grammar, ``destinations`` adds remotes' names and settings, ``entry_points`` opens the
adapter. ``config`` knows every setting and where its value came from, ``remotes`` the named remotes,
``home`` the folders.
"""
