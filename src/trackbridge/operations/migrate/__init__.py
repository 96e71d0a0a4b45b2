"""Everything from one backend to another: plan, apply, check.

::

    Side A --pages--> prints --compare--> Plan --shown, saved--> apply: open, write, files, close --> check
    Side B --pages--> prints -----^         ^                      |
                                         losses                  ledger

Nothing is known of a backend but what it declares. A copy of a run carries in its tags what it was made of,
and ends only when all of it is there: a copy that is not ended is gone on with, and a lost ledger loses
nothing but time.
"""
